#include "tests/check.h"

#include "text/normalizer.h"

static void read(sp_normalizer *normalizer, const char *json_text) {
    json_t *json = json_loads(json_text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    if (sp_normalizer_read(normalizer, json, "t.json") != SP_OK) fail_msg("%s", sp_message());
    json_decref(json);
}

static void assert_normalized(const char *json_text, const char *text, bool is_continuation,
                              const char *expected) {
    sp_normalizer normalizer = {0};
    sp_normalized normalized = {0};
    read(&normalizer, json_text);
    assert_int_equal(
        sp_normalizer_run(&normalizer, &normalized, text, strlen(text), is_continuation), SP_OK);
    if (normalized.n_bytes != strlen(expected) ||
        memcmp(normalized.bytes, expected, normalized.n_bytes) != 0)
        fail_msg("'%s' becomes '%.*s', not '%s'", text, (int)normalized.n_bytes, normalized.bytes,
                 expected);
    sp_normalized_free(&normalized);
    sp_normalizer_free(&normalizer);
}

#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"__\"}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"__\"}"
#define DIGITS "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[0-9]+\"},\"content\":\"#\"}"
#define NFC "{\"type\":\"NFC\"}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"normalizers\":[" steps "]}"

static void each_step_does_what_it_says(void **state) {
    assert_normalized("null", "a b", false, "a b");
    assert_normalized(NFC, "e\xCC\x81", false, "\xC3\xA9");
    assert_normalized(PREPEND, "a", false, "__a");
    assert_normalized(REPLACE, " a  b ", false, "__a____b__");
    assert_normalized(DIGITS, "12 and 3", false, "# and #");
    assert_normalized(SEQUENCE(""), "a b", false, "a b");
}

static void steps_work_on_what_the_one_before_made(void **state) {
    assert_normalized(SEQUENCE(PREPEND "," REPLACE), "a b", false, "__a__b");
    assert_normalized(SEQUENCE(SEQUENCE(NFC) "," DIGITS "," REPLACE), "1 e\xCC\x81 22", false,
                      "#__\xC3\xA9__#");
}

static void an_empty_text_and_one_that_goes_on_get_no_prefix(void **state) {
    assert_normalized(PREPEND, "", false, "");
    assert_normalized(SEQUENCE(PREPEND "," REPLACE), "a b", true, "a__b");
}

static void bytes_that_are_no_utf8_stay(void **state) {
    assert_normalized(SEQUENCE(NFC "," DIGITS "," PREPEND "," REPLACE), "\xFF 1\xC3 e\xCC\x81\x80",
                      false, "__\xFF__#\xC3__\xC3\xA9\x80");
}

static void offsets_lead_through_all_steps(void **state) {
    sp_normalizer normalizer = {0};
    sp_normalized normalized = {0};
    read(&normalizer, SEQUENCE(NFC "," PREPEND "," REPLACE));
    static const char text[] = "e\xCC\x81 b"; /* __, two bytes of e acute, __, b */
    assert_int_equal(sp_normalizer_run(&normalizer, &normalized, text, 5, false), SP_OK);
    const size_t expected[] = {0, 0, 0, 3, 3, 4, 4, 5};
    assert_int_equal(normalized.n_bytes, 7);
    for (size_t i = 0; i <= 7; i++)
        assert_int_equal(sp_normalized_text_offset(&normalized, i), expected[i]);
    sp_normalized_free(&normalized);
    sp_normalizer_free(&normalizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_does_what_it_says),
        cmocka_unit_test(steps_work_on_what_the_one_before_made),
        cmocka_unit_test(an_empty_text_and_one_that_goes_on_get_no_prefix),
        cmocka_unit_test(bytes_that_are_no_utf8_stay),
        cmocka_unit_test(offsets_lead_through_all_steps)};
    return cmocka_run_group_tests_name("normalizer", tests, NULL, NULL);
}
