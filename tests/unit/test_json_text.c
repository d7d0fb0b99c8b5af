#include "tests/check.h"

#include "text/json_text.h"

#include <stdlib.h>

#define BAD "\xEF\xBF\xBD" /* U+FFFD */

static void assert_becomes(const char *bytes, size_t n_bytes, const char *text, size_t n_text) {
    json_t *string = sp_json_from_bytes(bytes, n_bytes);
    assert_non_null(string);
    assert_int_equal(json_string_length(string), n_text);
    assert_memory_equal(json_string_value(string), text, n_text);
    json_decref(string);
}
#define ASSERT_BECOMES(bytes, text) assert_becomes(bytes, sizeof(bytes) - 1, text, sizeof(text) - 1)

static void valid_text_stays_as_it_is(void **state) {
    ASSERT_BECOMES("", "");
    ASSERT_BECOMES("plain \"text\" \\ \n\x01\x7F", "plain \"text\" \\ \n\x01\x7F");
    ASSERT_BECOMES("\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xEF\xBF\xBF \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF",
                   "\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xEF\xBF\xBF \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF");
}

static void nuls_stay(void **state) { ASSERT_BECOMES("\0a\0\0b\0", "\0a\0\0b\0"); }

/* Unicode table 3-7: lone and cut bytes, overlong forms, surrogates, beyond U+10FFFF. */
static void each_byte_of_no_character_is_replaced(void **state) {
    ASSERT_BECOMES("a\x80z", "a" BAD "z");
    ASSERT_BECOMES("\xFF\xFE", BAD BAD);
    ASSERT_BECOMES("a\xE2\x82", "a" BAD BAD);
    ASSERT_BECOMES("\xE2\x82z", BAD BAD "z");
    ASSERT_BECOMES("\xC0\x80", BAD BAD);
    ASSERT_BECOMES("\xE0\x9F\xBF", BAD BAD BAD);
    ASSERT_BECOMES("\xED\xA0\x80", BAD BAD BAD);
    ASSERT_BECOMES("\xF4\x90\x80\x80", BAD BAD BAD BAD);
    ASSERT_BECOMES("\xF0\x9F\x98\xF0\x9F\x98\x80", BAD BAD BAD "\xF0\x9F\x98\x80");
}

/* Jansson refuses to build a string that is not UTF-8, so that a result is one. */
static void any_three_bytes_become_valid_text(void **state) {
    static const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                          0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
                                          0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF};
    enum { N = sizeof edges };
    for (size_t i = 0; i < N * N * N; i++) {
        const char bytes[] = {(char)edges[i / (N * N)], (char)edges[i / N % N], (char)edges[i % N]};
        json_t *string = sp_json_from_bytes(bytes, 3);
        assert_non_null(string);
        char *dumped = json_dumps(string, JSON_ENCODE_ANY);
        assert_non_null(dumped);
        free(dumped);
        json_decref(string);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_text_stays_as_it_is),
        cmocka_unit_test(nuls_stay),
        cmocka_unit_test(each_byte_of_no_character_is_replaced),
        cmocka_unit_test(any_three_bytes_become_valid_text),
    };
    return cmocka_run_group_tests_name("json_text", tests, NULL, NULL);
}
