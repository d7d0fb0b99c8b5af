/* Ids as Hugging Face's tokenizers gives them, from tests/fixtures/text; what is in the files is
   said in tools/make_text_fixtures.py. */
#include "tests/check.h"

#include "text/tokenizer.h"

#include <stdlib.h>

static json_t *load(const char *path) {
    json_t *value = NULL;
    if (sp_json_load_file(&value, path) != SP_OK) fail_msg("%s", sp_message());
    return value;
}

/* The base tokenizer with the case's members in place of its own. */
static json_t *build_tokenizer(const json_t *test_case) {
    char path[100];
    snprintf(path, sizeof path, "tests/fixtures/text/tokenizer_%s.json",
             json_string_value(json_object_get(test_case, "base")));
    json_t *tokenizer = load(path);
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(test_case, "members"), key, value) {
        if (strcmp(key, "model") == 0)
            json_object_update(json_object_get(tokenizer, "model"), value);
        else
            json_object_set(tokenizer, key, value);
    }
    return tokenizer;
}

static unsigned hex_digit(char c) {
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

/* The entry's text, on the heap without a byte to spare, so that reading past it is seen. */
static char *text_of(const json_t *entry, size_t *n_bytes) {
    const char *plain = json_string_value(json_object_get(entry, "text"));
    const char *hex = json_string_value(json_object_get(entry, "hex"));
    *n_bytes = plain != NULL ? strlen(plain) : strlen(hex) / 2;
    char *text = malloc(*n_bytes > 0 ? *n_bytes : 1);
    assert_non_null(text);
    for (size_t i = 0; i < *n_bytes; i++)
        text[i] = plain != NULL ? plain[i]
                                : (char)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    return text;
}

static void check_ids(const sp_encoding *encoding, const json_t *ids, const char *name,
                      size_t index) {
    if (encoding->n != json_array_size(ids))
        fail_msg("%s, text %zu: %zu ids, not %zu", name, index, encoding->n, json_array_size(ids));
    for (size_t i = 0; i < encoding->n; i++)
        if (encoding->ids[i] != json_integer_value(json_array_get(ids, i)))
            fail_msg("%s, text %zu: id %zu is %d, not %d", name, index, i, encoding->ids[i],
                     (int)json_integer_value(json_array_get(ids, i)));
}

/* What the ids decode to, where the entry says so: "decoded" is missing where that is the text, null
   where the reference cannot show it. */
static void check_decoded(const sp_tokenizer *tokenizer, const sp_encoding *encoding,
                          const json_t *entry, const char *text, size_t n_bytes, const char *name,
                          size_t index) {
    const json_t *expected = json_object_get(entry, "decoded");
    const char *wanted = expected != NULL ? json_string_value(expected) : text;
    const size_t n_wanted = expected != NULL ? json_string_length(expected) : n_bytes;
    char *decoded = NULL;
    size_t n_decoded = 0;
    if (json_is_null(expected)) return;
    if (sp_tokenizer_decode(tokenizer, &decoded, &n_decoded, encoding->ids, encoding->n,
                            (sp_decode_options){0}) != SP_OK)
        fail_msg("%s", sp_message());
    if (n_decoded != n_wanted || memcmp(decoded, wanted, n_wanted) != 0)
        fail_msg("%s, text %zu: decoded to '%s'", name, index, decoded);
    free(decoded);
}

static void check_case(const json_t *test_case, sp_encoding *encoding) {
    const char *name = json_string_value(json_object_get(test_case, "name"));
    const char *base = json_string_value(json_object_get(test_case, "base"));
    const sp_encode_options options = {
        .specials_are_plain = json_is_false(json_object_get(test_case, "parse_special")),
        .is_continuation = json_is_true(json_object_get(test_case, "is_continuation"))};
    const bool has_decoded = strcmp(base, "phi3") == 0 && !options.is_continuation;
    json_t *json = build_tokenizer(test_case);
    sp_tokenizer *tokenizer = NULL;
    if (sp_tokenizer_create(&tokenizer, json, name) != SP_OK) fail_msg("%s", sp_message());
    json_decref(json);
    const json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(test_case, "encodings"), i, entry) {
        size_t n_bytes = 0;
        char *text = text_of(entry, &n_bytes);
        if (sp_tokenizer_encode(tokenizer, encoding, text, n_bytes, options) != SP_OK)
            fail_msg("%s", sp_message());
        check_ids(encoding, json_object_get(entry, "ids"), name, i);
        if (has_decoded) check_decoded(tokenizer, encoding, entry, text, n_bytes, name, i);
        free(text);
    }
    sp_tokenizer_destroy(tokenizer);
}

/* One encoding serves all, so that no tokenizer may see another's cache. */
static void ids_are_those_of_the_reference(void **state) {
    json_t *cases = load("tests/fixtures/text/encodings.json");
    assert_true(json_array_size(cases) > 50);
    sp_encoding encoding = {0};
    const json_t *test_case;
    size_t i;
    json_array_foreach(cases, i, test_case) check_case(test_case, &encoding);
    sp_encoding_free(&encoding);
    json_decref(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_those_of_the_reference)};
    return cmocka_run_group_tests_name("tokenizer_encodings", tests, NULL, NULL);
}
