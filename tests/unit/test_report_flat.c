/* The quick reader of flat lines against the parser of JSON: what it takes for whole, the parser takes
   for the same. */
#include "tests/check.h"

#include "base/json.h"
#include "run/report_flat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char line[] =
    "{\"step\":1200, \"loss\" : 4.9777322673816258,\"none\":null,\"skipped\":true,\"lr\":1.25e-4,"
    "\"host\":\"n 07\",\"zero\":0,\"negative\":-0.5E+2,\"no\":false}\n";

/* Reads a line; of the whole ones all members must be the parser's. Returns how many, 0: not whole. */
static size_t read_as_parser(const char *text, size_t n_bytes) {
    sp_flat flat;
    sp_flat_member member;
    size_t n = 0;
    json_t *object = json_loadb(text, n_bytes, 0, NULL);
    sp_flat_begin(&flat, text, n_bytes);
    for (; sp_flat_next(&flat, &member); n++) {
        char key[64];
        assert_true(member.key_bytes < sizeof key);
        snprintf(key, sizeof key, "%.*s", (int)member.key_bytes, member.key);
        const json_t *value = json_object_get(object, key);
        if (object == NULL) continue; /* not whole, as is seen below */
        assert_non_null(value);
        assert_int_equal(member.is_number, json_is_number(value));
        assert_int_equal(member.is_integer, json_is_integer(value));
        assert_int_equal(member.is_true, json_is_true(value));
        assert_true(!member.is_number || !(fabs(member.number - json_number_value(value)) > 0));
    }
    if (flat.is_whole) {
        assert_non_null(object);
        assert_int_equal(n, json_object_size(object));
    }
    json_decref(object);
    return flat.is_whole ? n : 0;
}

static void members_are_the_parsers(void **state) {
    assert_int_equal(read_as_parser(line, sizeof line - 1), 9);
}

static void a_line_cut_anywhere_is_not_whole(void **state) {
    for (size_t n = 0; n < sizeof line - 2; n++) {
        char cut[sizeof line];
        memcpy(cut, line, n);
        cut[n] = '\0';
        assert_int_equal(read_as_parser(cut, n), 0);
    }
}

static void a_line_with_any_byte_changed_is_what_the_parser_says(void **state) {
    for (size_t at = 0; at < sizeof line - 1; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char changed[sizeof line];
            memcpy(changed, line, sizeof line);
            changed[at] = (char)byte;
            (void)read_as_parser(changed, sizeof line - 1);
        }
    }
}

static void numbers_are_as_strict_as_json(void **state) {
    static const struct {
        const char *text;
        bool is_one;
    } numbers[] = {{"0", true},     {"-0", true},   {"10", true},   {"1.5", true},
                   {"1e5", true},   {"1E-5", true}, {"01", false},  {"1.", false},
                   {".5", false},   {"+1", false},  {"1e", false},  {"1e+", false},
                   {"0x10", false}, {"inf", false}, {"NaN", false}, {"1e999", false},
                   {"--1", false},  {"-", false},   {"1 2", false}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char text[64];
        const int n = snprintf(text, sizeof text, "{\"a\":%s}", numbers[i].text);
        assert_int_equal(read_as_parser(text, (size_t)n), numbers[i].is_one ? 1 : 0);
    }
}

static void other_json_is_left_to_the_parser(void **state) {
    static const char *const others[] = {"[]",
                                         "{\"a\":{}}",
                                         "{\"a\":[1]}",
                                         "1",
                                         "{\"a\":\"\\u00e4\"}",
                                         "{\"\xc3\xa4\":1}",
                                         "{\"a\":1}x",
                                         "{\"a\":1,}",
                                         "{,}",
                                         "{\"a\" 1}",
                                         "{\"a\":12345678901234567890}"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(read_as_parser(others[i], strlen(others[i])), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_the_parsers),
        cmocka_unit_test(a_line_cut_anywhere_is_not_whole),
        cmocka_unit_test(a_line_with_any_byte_changed_is_what_the_parser_says),
        cmocka_unit_test(numbers_are_as_strict_as_json),
        cmocka_unit_test(other_json_is_left_to_the_parser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
