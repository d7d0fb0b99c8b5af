/* What a tokenizer promises beyond the reference's ids: bytes come back, ends, digests, time. */
/* cores: 2 */
#include "tests/check.h"

#include "base/clock.h"
#include "text/tokenizer.h"

#include <pthread.h>
#include <stdlib.h>

static sp_tokenizer *gpt2, *llama3;

static json_t *load(const char *path) {
    json_t *value = NULL;
    if (sp_json_load_file(&value, path) != SP_OK) fail_msg("%s", sp_message());
    return value;
}

static json_t *gpt2_json(void) { return load("tests/fixtures/text/tokenizer_gpt2.json"); }

static sp_tokenizer *create(json_t *json) {
    sp_tokenizer *tokenizer = NULL;
    if (sp_tokenizer_create(&tokenizer, json, "test") != SP_OK) fail_msg("%s", sp_message());
    json_decref(json);
    return tokenizer;
}

static int create_tokenizers(void **state) {
    gpt2 = create(gpt2_json());
    llama3 = create(load("tests/fixtures/text/tokenizer_llama3.json"));
    return 0;
}

static int destroy_tokenizers(void **state) {
    sp_tokenizer_destroy(llama3);
    sp_tokenizer_destroy(gpt2);
    sp_tokenizer_destroy(NULL);
    return 0;
}

static void encode(const sp_tokenizer *tokenizer, sp_encoding *encoding, const char *text,
                   size_t n_bytes) {
    if (sp_tokenizer_encode(tokenizer, encoding, text, n_bytes, (sp_encode_options){0}) != SP_OK)
        fail_msg("%s", sp_message());
}

static void check_round_trip(const sp_tokenizer *tokenizer, sp_encoding *encoding, const char *text,
                             size_t n_bytes) {
    char *decoded = NULL;
    size_t n_decoded = 0;
    encode(tokenizer, encoding, text, n_bytes);
    assert_int_equal(sp_tokenizer_decode(tokenizer, &decoded, &n_decoded, encoding->ids,
                                         encoding->n, (sp_decode_options){0}),
                     SP_OK);
    assert_int_equal(n_decoded, n_bytes);
    assert_memory_equal(decoded, text, n_bytes);
    assert_int_equal(decoded[n_bytes], '\0');
    free(decoded);
}

/* Ends rise, the last is the text's, and the bytes between two are those of the token. */
static void check_ends(const sp_tokenizer *tokenizer, const sp_encoding *encoding, const char *text,
                       size_t n_bytes) {
    size_t begin = 0;
    for (size_t i = 0; i < encoding->n; i++) {
        char *token = NULL;
        size_t n_token = 0;
        assert_int_equal(sp_tokenizer_decode(tokenizer, &token, &n_token, &encoding->ids[i], 1,
                                             (sp_decode_options){0}),
                         SP_OK);
        assert_int_equal(encoding->ends[i] - begin, n_token);
        assert_memory_equal(token, text + begin, n_token);
        begin = encoding->ends[i];
        free(token);
    }
    assert_int_equal(begin, n_bytes);
}

/* A small generator of its own, so that the texts are the same everywhere. */
static unsigned draw(unsigned *seed, unsigned n) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

/* Bytes of all kinds: any, ASCII, pieces of characters, and special tokens. */
static size_t draw_text(char *text, size_t capacity, unsigned *seed) {
    static const char *const pieces[] = {
        "<|endoftext|>", "<|eot|>",          " the", "\xE4\xBD\xA0",
        "\xC3\xA9",      "\xF0\x9F\x98\x80", "  ",   "\r\n"};
    const size_t wanted = draw(seed, 200);
    size_t n = 0;
    while (n < wanted && n + 16 < capacity) {
        const char *piece = pieces[draw(seed, 8)];
        switch (draw(seed, 3)) {
        case 0:
            text[n++] = (char)draw(seed, 256);
            break;
        case 1:
            text[n++] = (char)(' ' + draw(seed, 95));
            break;
        default: /* cut short now and then */
            for (size_t i = 0; piece[i] != '\0' && draw(seed, 20) > 0; i++) text[n++] = piece[i];
        }
    }
    return n;
}

static void any_bytes_come_back_and_ends_say_where(void **state) {
    sp_encoding encoding = {0};
    unsigned seed = 4;
    char text[256];
    for (int i = 0; i < 3000; i++) {
        const size_t n_bytes = draw_text(text, sizeof text, &seed);
        const sp_tokenizer *tokenizer = i % 2 == 0 ? gpt2 : llama3;
        check_round_trip(tokenizer, &encoding, text, n_bytes);
        check_ends(tokenizer, &encoding, text, n_bytes);
    }
    sp_encoding_free(&encoding);
    sp_encoding_free(&encoding);
}

static void every_byte_alone_comes_back(void **state) {
    sp_encoding encoding = {0};
    for (int byte = 0; byte < 256; byte++) {
        const char text = (char)byte;
        check_round_trip(gpt2, &encoding, &text, 1);
        assert_int_equal(encoding.n, 1);
    }
    sp_encoding_free(&encoding);
}

static void an_empty_text_has_no_tokens(void **state) {
    sp_encoding encoding = {0};
    encode(gpt2, &encoding, NULL, 0);
    assert_int_equal(encoding.n, 0);
    char *text = NULL;
    size_t n_bytes = 1;
    assert_int_equal(sp_tokenizer_decode(gpt2, &text, &n_bytes, NULL, 0, (sp_decode_options){0}),
                     SP_OK);
    assert_int_equal(n_bytes, 0);
    assert_string_equal(text, "");
    free(text);
    sp_encoding_free(&encoding);
}

/* A cluster of w and a circumflex becomes one character of two bytes: two byte tokens, which both
   end where the cluster does. */
static void ends_in_normalized_text_are_those_of_the_text(void **state) {
    json_t *json = gpt2_json();
    json_object_set_new(json, "normalizer", json_pack("{s:s}", "type", "NFC"));
    sp_tokenizer *tokenizer = create(json);
    sp_encoding encoding = {0};
    const char text[] = "xw\xCC\x82\xFFz w\xCC\x82";
    encode(tokenizer, &encoding, text, sizeof text - 1);
    const size_t expected[] = {1, 4, 4, 5, 6, 7, 10, 10};
    assert_int_equal(encoding.n, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < encoding.n; i++) assert_int_equal(encoding.ends[i], expected[i]);
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
}

/* A vocabulary without some bytes, as SmolLM2's. */
static void bytes_without_a_token_belong_to_their_neighbours(void **state) {
    json_t *json = gpt2_json();
    json_t *model = json_object_get(json, "model");
    json_object_set_new(model, "vocab", json_pack("{s:i,s:i}", "a", 0, "b", 1));
    json_object_set_new(model, "merges", json_array());
    json_object_set_new(json, "added_tokens", json_array());
    sp_tokenizer *tokenizer = create(json);
    sp_encoding encoding = {0};
    encode(tokenizer, &encoding, "xay b..", 7);
    assert_int_equal(encoding.n, 2);
    assert_int_equal(encoding.ids[0], 0);
    assert_int_equal(encoding.ends[0], 3);
    assert_int_equal(encoding.ids[1], 1);
    assert_int_equal(encoding.ends[1], 7);
    encode(tokenizer, &encoding, "...", 3);
    assert_int_equal(encoding.n, 0);
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
}

static void special_tokens_can_be_skipped_in_decoding(void **state) {
    sp_encoding encoding = {0};
    const char text[] = "a<|eot|>b<|start|>";
    char *decoded = NULL;
    size_t n_bytes = 0;
    encode(llama3, &encoding, text, sizeof text - 1);
    assert_int_equal(encoding.n, 4);
    assert_int_equal(sp_tokenizer_decode(llama3, &decoded, &n_bytes, encoding.ids, encoding.n,
                                         (sp_decode_options){.skips_special = true}),
                     SP_OK);
    assert_string_equal(decoded, "ab");
    free(decoded);
    sp_encoding_free(&encoding);
}

static void an_id_out_of_range_is_refused(void **state) {
    const int32_t size = (int32_t)sp_tokenizer_vocab_size(gpt2);
    const int32_t ids[][2] = {{5, size}, {5, -1}, {5, INT32_MAX}, {5, INT32_MIN}};
    for (size_t i = 0; i < 4; i++) {
        char *text = NULL;
        size_t n_bytes = 7;
        assert_int_equal(
            sp_tokenizer_decode(gpt2, &text, &n_bytes, ids[i], 2, (sp_decode_options){0}),
            SP_BAD_DATA);
        assert_null(text);
        assert_int_equal(n_bytes, 7);
        assert_non_null(strstr(sp_message(), "token 1"));
    }
}

static void a_gap_in_the_ids_is_no_token(void **state) {
    json_t *json = gpt2_json();
    json_t *vocab = json_object_get(json_object_get(json, "model"), "vocab");
    json_object_set_new(vocab, "zzz", json_integer(1000));
    sp_tokenizer *tokenizer = create(json);
    char *text = NULL;
    size_t n_bytes = 0;
    assert_int_equal(sp_tokenizer_vocab_size(tokenizer), 1001);
    assert_int_equal(sp_tokenizer_decode(tokenizer, &text, &n_bytes, (int32_t[]){1000}, 1,
                                         (sp_decode_options){0}),
                     SP_OK);
    free(text);
    assert_int_equal(sp_tokenizer_decode(tokenizer, &text, &n_bytes, (int32_t[]){999}, 1,
                                         (sp_decode_options){0}),
                     SP_BAD_DATA);
    sp_tokenizer_destroy(tokenizer);
}

static void tokens_are_found_by_their_spelling(void **state) {
    int32_t id = -7;
    assert_true(sp_tokenizer_find(gpt2, "<|endoftext|>", &id));
    assert_int_equal(id, 0);
    assert_true(sp_tokenizer_find(llama3, "<|eot|>", &id));
    assert_int_equal(id, sp_tokenizer_vocab_size(llama3) - 1);
    assert_true(sp_tokenizer_find(llama3, "\xC4\xA0thereof", &id));
    assert_false(sp_tokenizer_find(llama3, " thereof", &id));
    assert_false(sp_tokenizer_find(gpt2, "<|eot|>", &id));
    assert_false(sp_tokenizer_find(gpt2, "", &id));
}

/* The object with its members the other way round, all the way down. */
static json_t *reversed(const json_t *value) {
    if (!json_is_object(value)) return json_deep_copy(value);
    const size_t n = json_object_size(value);
    const char **keys = calloc(n + 1, sizeof *keys);
    assert_non_null(keys);
    const char *key;
    json_t *member, *result = json_object();
    size_t i = 0;
    json_object_foreach((json_t *)value, key, member) keys[i++] = key;
    while (i-- > 0) json_object_set_new(result, keys[i], reversed(json_object_get(value, keys[i])));
    free(keys);
    return result;
}

static void digest_does_not_depend_on_the_files_form(void **state) {
    json_t *json = gpt2_json();
    json_t *model = json_object_get(json, "model");
    json_t *pairs = json_array(), *merge;
    size_t i;
    json_array_foreach(json_object_get(model, "merges"), i, merge) {
        const char *line = json_string_value(merge), *space = strchr(line, ' ');
        json_array_append_new(pairs, json_pack("[s%s]", line, (size_t)(space - line), space + 1));
    }
    json_object_set_new(model, "merges", pairs);
    sp_tokenizer *other = create(reversed(json));
    assert_int_equal(strlen(sp_tokenizer_digest(gpt2)), 32);
    assert_string_equal(sp_tokenizer_digest(other), sp_tokenizer_digest(gpt2));
    sp_tokenizer_destroy(other);
    json_decref(json);
}

/* Each way to change what a text becomes. */
static void digest_depends_on_all_that_decides_the_ids(void **state) {
    for (int change = 0; change < 7; change++) {
        json_t *json = gpt2_json();
        json_t *model = json_object_get(json, "model");
        json_t *added = json_array_get(json_object_get(json, "added_tokens"), 0);
        json_t *merges = json_object_get(model, "merges");
        switch (change) {
        case 0:
            json_object_set_new(json_object_get(model, "vocab"), "zz", json_integer(900));
            break;
        case 1:
            json_array_remove(merges, json_array_size(merges) - 1);
            break;
        case 2:
            json_array_insert(merges, 0, json_array_get(merges, json_array_size(merges) - 1));
            json_array_remove(merges, json_array_size(merges) - 1);
            break;
        case 3:
            json_object_set_new(added, "lstrip", json_true());
            break;
        case 4:
            json_object_set_new(model, "ignore_merges", json_true());
            break;
        case 5:
            json_object_set_new(json, "normalizer", json_pack("{s:s}", "type", "NFC"));
            break;
        default:
            json_object_set_new(json_object_get(json, "pre_tokenizer"), "use_regex", json_false());
        }
        sp_tokenizer *other = create(json);
        assert_string_not_equal(sp_tokenizer_digest(other), sp_tokenizer_digest(gpt2));
        sp_tokenizer_destroy(other);
    }
}

static double seconds_for(const sp_tokenizer *tokenizer, const char *unit, size_t n_bytes) {
    char *text = malloc(n_bytes);
    assert_non_null(text);
    for (size_t i = 0; i < n_bytes; i++) text[i] = unit[i % strlen(unit)];
    sp_encoding encoding = {0};
    const double begin = sp_clock_seconds();
    encode(tokenizer, &encoding, text, n_bytes);
    const double seconds = sp_clock_seconds() - begin;
    check_round_trip(tokenizer, &encoding, text, n_bytes);
    sp_encoding_free(&encoding);
    free(text);
    return seconds;
}

/* 1 MiB each; quadratic time would be hours. The bound leaves room for sanitizers. */
static void long_runs_take_nearly_linear_time(void **state) {
    static const char *const units[] = {"a",        " ",  "7",        "\n",
                                        " \n",      "ab", "\xC3\xA9", "\xFF",
                                        "\xCC\x81", "'",  "<|",       "a\xCC\x81\xCC\xA3",
                                        "the"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        assert_true(seconds_for(gpt2, units[i], 1 << 20) < 20);
        assert_true(seconds_for(llama3, units[i], 1 << 20) < 20);
    }
}

static void marks_in_falling_order_are_sorted_in_nearly_linear_time(void **state) {
    json_t *json = gpt2_json();
    json_object_set_new(json, "normalizer", json_pack("{s:s}", "type", "NFC"));
    sp_tokenizer *tokenizer = create(json);
    enum { N_MARKS = 1 << 18 };
    char *text = malloc(2 * N_MARKS);
    assert_non_null(text);
    for (size_t i = 0; i < N_MARKS; i++) /* above, then below: class 230, then 220 */
        memcpy(text + 2 * i, i < N_MARKS / 2 ? "\xCC\x81" : "\xCC\xA3", 2);
    sp_encoding encoding = {0};
    char *decoded = NULL;
    size_t n_bytes = 0;
    encode(tokenizer, &encoding, text, 2 * N_MARKS);
    assert_int_equal(sp_tokenizer_decode(tokenizer, &decoded, &n_bytes, encoding.ids, encoding.n,
                                         (sp_decode_options){0}),
                     SP_OK);
    assert_int_equal(n_bytes, 2 * N_MARKS);
    assert_memory_equal(decoded, "\xCC\xA3\xCC\xA3", 4);
    free(decoded);
    free(text);
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
}

/* A pattern that tries every way to cut a run of a's into groups. */
static void a_pattern_that_explodes_is_stopped(void **state) {
    json_t *json = gpt2_json();
    json_object_set_new(json, "pre_tokenizer",
                        json_pack("{s:s,s:[{s:s,s:{s:s},s:s,s:b},{s:s}]}", "type", "Sequence",
                                  "pretokenizers", "type", "Split", "pattern", "Regex", "(a+)+\\d",
                                  "behavior", "Isolated", "invert", 0, "type", "ByteLevel"));
    sp_tokenizer *tokenizer = create(json);
    char text[64];
    memset(text, 'a', sizeof text);
    sp_encoding encoding = {0};
    assert_int_equal(
        sp_tokenizer_encode(tokenizer, &encoding, text, sizeof text, (sp_encode_options){0}),
        SP_BAD_DATA);
    assert_int_equal(encoding.n, 0);
    assert_non_null(strstr(sp_message(), "(a+)+"));
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
}

static void *encode_many(void *unused) {
    (void)unused;
    static const char text[] =
        "The Work and such Derivative Works, 2004 <|endoftext|> \xE4\xBD\xA0";
    sp_encoding first = {0}, encoding = {0};
    bool same =
        sp_tokenizer_encode(gpt2, &first, text, sizeof text - 1, (sp_encode_options){0}) == SP_OK;
    for (int i = 0; same && i < 500; i++) {
        same = sp_tokenizer_encode(gpt2, &encoding, text, sizeof text - 1,
                                   (sp_encode_options){0}) == SP_OK &&
               encoding.n == first.n &&
               memcmp(encoding.ids, first.ids, first.n * sizeof *first.ids) == 0;
    }
    sp_encoding_free(&encoding);
    sp_encoding_free(&first);
    return same ? (void *)&gpt2 : NULL;
}

static void threads_share_a_tokenizer(void **state) {
    enum { N_THREADS = 4 };
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_many, NULL), 0);
    for (int i = 0; i < N_THREADS; i++) {
        void *same = NULL;
        assert_int_equal(pthread_join(threads[i], &same), 0);
        assert_non_null(same);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_come_back_and_ends_say_where),
        cmocka_unit_test(every_byte_alone_comes_back),
        cmocka_unit_test(an_empty_text_has_no_tokens),
        cmocka_unit_test(ends_in_normalized_text_are_those_of_the_text),
        cmocka_unit_test(bytes_without_a_token_belong_to_their_neighbours),
        cmocka_unit_test(special_tokens_can_be_skipped_in_decoding),
        cmocka_unit_test(an_id_out_of_range_is_refused),
        cmocka_unit_test(a_gap_in_the_ids_is_no_token),
        cmocka_unit_test(tokens_are_found_by_their_spelling),
        cmocka_unit_test(digest_does_not_depend_on_the_files_form),
        cmocka_unit_test(digest_depends_on_all_that_decides_the_ids),
        cmocka_unit_test(long_runs_take_nearly_linear_time),
        cmocka_unit_test(marks_in_falling_order_are_sorted_in_nearly_linear_time),
        cmocka_unit_test(a_pattern_that_explodes_is_stopped),
        cmocka_unit_test(threads_share_a_tokenizer)};
    return cmocka_run_group_tests_name("tokenizer", tests, create_tokenizers, destroy_tokenizers);
}
