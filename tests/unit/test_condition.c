#include "tests/check.h"

#include "io/condition.h"

#include <stdio.h>

static void spelling_does_not_matter(void **state) {
    static const char *const texts[] = {"language=en", " language = en ", "language == 'en'",
                                        "language=\"en\"", "language\t=\ten"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sp_condition c;
        assert_int_equal(sp_condition_parse(&c, texts[i]), SP_OK);
        assert_string_equal(c.name, "language");
        assert_string_equal(c.value, "en");
        assert_int_equal(c.comparison, SP_EQUAL);
        sp_condition_free(&c);
        sp_condition_free(&c); /* twice does no harm */
    }
    sp_condition c;
    assert_int_equal(sp_condition_parse(&c, "a b != ' x = y '"), SP_OK);
    assert_string_equal(c.name, "a b");
    assert_string_equal(c.value, " x = y ");
    sp_condition_free(&c);
}

static void what_is_no_condition_is_refused(void **state) {
    static const char *const texts[] = {"",    "language", "= en",   "language =", "a ! b",
                                        "a !", "  < 3",    "a in b", "a >= "};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sp_condition c;
        assert_int_equal(sp_condition_parse(&c, texts[i]), SP_USAGE);
        assert_non_null(strstr(sp_message(), "NAME OP VALUE"));
    }
}

/* Which of < = > the field is to the condition's value, asked with each operator. */
static void assert_order(const sp_field *field, const char *value, char order) {
    static const struct {
        const char *spelling, *true_for;
    } operators[] = {{"=", "="}, {"!=", "<>"}, {"<", "<"}, {"<=", "<="}, {">", ">"}, {">=", ">="}};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        sp_condition c;
        char text[64];
        snprintf(text, sizeof text, "x %s %s", operators[i].spelling, value);
        assert_int_equal(sp_condition_parse(&c, text), SP_OK);
        assert_int_equal(sp_condition_check(&c, field->type), SP_OK);
        const bool expected = strchr(operators[i].true_for, order) != NULL;
        if (sp_condition_holds(&c, field) != expected) fail_msg("%s", text);
        sp_condition_free(&c);
    }
}

static sp_field text_field(const char *text) {
    return (sp_field){.type = SP_FIELD_TEXT, .text = text, .n_bytes = strlen(text)};
}

static void texts_compare_by_their_bytes(void **state) {
    static const struct {
        const char *text, *value;
        char order;
    } cases[] = {{"en", "en", '='},  {"en", "eng", '<'}, {"eng", "en", '>'},
                 {"", "''", '='},    {"", "a", '<'},     {"10", "9", '<'},
                 {"\xFF", "a", '>'}, {"En", "en", '<'},  {"2019-12-31", "2020", '<'}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const sp_field field = text_field(cases[i].text);
        assert_order(&field, cases[i].value, cases[i].order);
    }
}

static void numbers_compare_as_numbers(void **state) {
    static const struct {
        sp_field field;
        const char *value;
        char order;
    } cases[] = {{{.type = SP_FIELD_INTEGER, .integer = 10}, "9", '>'},
                 {{.type = SP_FIELD_INTEGER, .integer = 10}, "10.0", '='},
                 {{.type = SP_FIELD_INTEGER, .integer = -3}, "-2.5", '<'},
                 {{.type = SP_FIELD_INTEGER, .integer = INT64_MAX}, "9223372036854775806", '>'},
                 {{.type = SP_FIELD_INTEGER, .integer = INT64_MIN}, "-9223372036854775808", '='},
                 {{.type = SP_FIELD_REAL, .real = 0.65}, "0.65", '='},
                 {{.type = SP_FIELD_REAL, .real = 0.7}, "65e-2", '>'},
                 {{.type = SP_FIELD_REAL, .real = 2}, "2", '='}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_order(&cases[i].field, cases[i].value, cases[i].order);
}

static void null_and_nan_fail_every_condition(void **state) {
    static const char *const texts[] = {"x = 0", "x != 0", "x < 1", "x > 1", "x <= 1", "x >= -1"};
    const sp_field fields[] = {{.type = SP_FIELD_NULL}, {.type = SP_FIELD_REAL, .real = NAN}};
    for (size_t i = 0; i < 12; i++) {
        sp_condition c;
        assert_int_equal(sp_condition_parse(&c, texts[i / 2]), SP_OK);
        assert_false(sp_condition_holds(&c, &fields[i % 2]));
        sp_condition_free(&c);
    }
}

static void types_that_cannot_be_compared_are_refused(void **state) {
    sp_condition c;
    assert_int_equal(sp_condition_parse(&c, "n > few"), SP_OK);
    assert_int_equal(sp_condition_check(&c, SP_FIELD_TEXT), SP_OK);
    assert_int_equal(sp_condition_check(&c, SP_FIELD_NULL), SP_OK);
    assert_int_equal(sp_condition_check(&c, SP_FIELD_INTEGER), SP_BAD_DATA);
    assert_int_equal(sp_condition_check(&c, SP_FIELD_REAL), SP_BAD_DATA);
    assert_int_equal(sp_condition_check(&c, SP_FIELD_OTHER), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'n'"));
    sp_condition_free(&c);
    assert_int_equal(sp_condition_parse(&c, "n > nan"), SP_OK); /* a word, not a number */
    assert_int_equal(sp_condition_check(&c, SP_FIELD_REAL), SP_BAD_DATA);
    sp_condition_free(&c);
}

static void all_of_several_must_hold(void **state) {
    sp_condition items[2];
    const sp_conditions both = {.items = items, .n = 2};
    bool hold = false;
    assert_int_equal(sp_condition_parse(&items[0], "n >= 10"), SP_OK);
    assert_int_equal(sp_condition_parse(&items[1], "n < 20"), SP_OK);
    for (int64_t n = 8; n < 22; n++) {
        const sp_field field = {.type = SP_FIELD_INTEGER, .integer = n};
        assert_int_equal(sp_conditions_hold(&both, (sp_field[]){field, field}, &hold), SP_OK);
        assert_int_equal(hold, n >= 10 && n < 20);
    }
    assert_int_equal(sp_conditions_hold(&(sp_conditions){0}, NULL, &hold), SP_OK);
    assert_true(hold);
    for (size_t i = 0; i < 2; i++) sp_condition_free(&items[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(spelling_does_not_matter),
                                       cmocka_unit_test(what_is_no_condition_is_refused),
                                       cmocka_unit_test(texts_compare_by_their_bytes),
                                       cmocka_unit_test(numbers_compare_as_numbers),
                                       cmocka_unit_test(null_and_nan_fail_every_condition),
                                       cmocka_unit_test(types_that_cannot_be_compared_are_refused),
                                       cmocka_unit_test(all_of_several_must_hold)};
    return cmocka_run_group_tests_name("condition", tests, NULL, NULL);
}
