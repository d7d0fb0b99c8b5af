#include "tests/check.h"

#include "text/decoder.h"

enum { MOST_PIECES = 6 };

static void assert_decoded(const char *json_text, const char *const pieces[MOST_PIECES],
                           bool is_continuation, const char *expected, size_t n_expected) {
    json_t *json = json_loads(json_text, JSON_DECODE_ANY, NULL);
    sp_decoder decoder = {0};
    sp_pieces list = {0};
    assert_non_null(json);
    if (sp_decoder_read(&decoder, json, false, "t.json") != SP_OK) fail_msg("%s", sp_message());
    for (size_t i = 0; i < MOST_PIECES && pieces[i] != NULL; i++)
        assert_int_equal(sp_pieces_add(&list, pieces[i], strlen(pieces[i])), SP_OK);
    assert_int_equal(sp_decoder_run(&decoder, &list, is_continuation), SP_OK);
    if (list.n_bytes != n_expected ||
        (n_expected > 0 && memcmp(list.bytes, expected, n_expected) != 0))
        fail_msg("%s: '%.*s' is not '%s'", json_text, (int)list.n_bytes, list.bytes, expected);
    sp_pieces_free(&list);
    sp_decoder_free(&decoder);
    json_decref(json);
}

#define TEXT(expected) expected, sizeof(expected) - 1
#define PIECES(...) \
    (const char *const[MOST_PIECES]) { __VA_ARGS__ }
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"decoders\":[" steps "]}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":\" \"}"
#define FALLBACK "{\"type\":\"ByteFallback\"}"
#define FUSE "{\"type\":\"Fuse\"}"
#define STRIP(start, stop) \
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":" #start ",\"stop\":" #stop "}"
#define METASPACE(scheme) \
    "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"" scheme "\"}"

static void without_steps_pieces_are_joined(void **state) {
    assert_decoded("null", PIECES("_a", "b"), false, TEXT("_ab"));
    assert_decoded("null", PIECES(NULL), false, TEXT(""));
}

static void byte_tokens_become_bytes(void **state) {
    assert_decoded(FALLBACK, PIECES("a", "<0xE4>", "<0xbd>", "<0xA0>", "<0xFF>", "<0x00>"), false,
                   TEXT("a\xE4\xBD\xA0\xFF\0"));
    assert_decoded(FALLBACK, PIECES("<0x4>", "<0xGG>", "<0x411>", "<0X41>"), false,
                   TEXT("<0x4><0xGG><0x411><0X41>"));
}

static void strip_takes_so_many_at_most(void **state) {
    assert_decoded(STRIP(1, 0), PIECES("  a ", " b", "c"), false, TEXT(" a bc"));
    assert_decoded(STRIP(2, 1), PIECES("   a  ", " "), false, TEXT(" a "));
    assert_decoded(SEQUENCE(FUSE "," STRIP(1, 0)), PIECES(" ", " b"), false, TEXT(" b"));
    assert_decoded(STRIP(0, 9), PIECES("   "), false, TEXT(""));
}

static void the_llama_2_kind_takes_its_prefix_off(void **state) {
    const char *steps = SEQUENCE(REPLACE "," FALLBACK "," FUSE "," STRIP(1, 0));
    assert_decoded(steps, PIECES("_a", "_b", "<0x0A>", "_"), false, TEXT("a b\n "));
    assert_decoded(steps, PIECES("__a"), false, TEXT(" a"));
    assert_decoded(steps, PIECES("_a", "_b"), true, TEXT(" a b"));
}

static void metaspace_drops_those_of_the_first_piece(void **state) {
    assert_decoded(METASPACE("always"), PIECES("__a_b", "_c"), false, TEXT("ab c"));
    assert_decoded(METASPACE("first"), PIECES("_a", "_b"), true, TEXT(" a b"));
    assert_decoded(METASPACE("never"), PIECES("_a", "_b"), false, TEXT(" a b"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_steps_pieces_are_joined),
                                       cmocka_unit_test(byte_tokens_become_bytes),
                                       cmocka_unit_test(strip_takes_so_many_at_most),
                                       cmocka_unit_test(the_llama_2_kind_takes_its_prefix_off),
                                       cmocka_unit_test(metaspace_drops_those_of_the_first_piece)};
    return cmocka_run_group_tests_name("decoder", tests, NULL, NULL);
}
