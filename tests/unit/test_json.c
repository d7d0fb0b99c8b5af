#include "tests/check.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static json_t *load(const char *text) {
    json_t *value = NULL;
    assert_int_equal(sp_json_load_text(&value, text, strlen(text), "a test"), SP_OK);
    return value;
}

static void members_come_with_their_types(void **state) {
    json_t *object = load("{\"layers\": 30, \"most\": 9223372036854775807, \"eps\": 1e-5,"
                          " \"whole\": 7, \"tied\": true, \"name\": \"a \\u00e9 \\\"b\\\"\"}");
    size_t layers = 0, most = 0;
    double eps = 0, whole = 0;
    bool is_tied = false;
    const char *name = NULL;
    assert_int_equal(sp_json_get_size(&layers, object, "layers", "c"), SP_OK);
    assert_int_equal(sp_json_get_size(&most, object, "most", "c"), SP_OK);
    assert_int_equal(sp_json_get_double(&eps, object, "eps", "c"), SP_OK);
    assert_int_equal(sp_json_get_double(&whole, object, "whole", "c"), SP_OK);
    assert_int_equal(sp_json_get_bool(&is_tied, object, "tied", "c"), SP_OK);
    assert_int_equal(sp_json_get_string(&name, object, "name", "c"), SP_OK);
    assert_true(layers == 30 && most == INT64_MAX && eps == 1e-5 && whole == 7 && is_tied);
    assert_string_equal(name, "a \xc3\xa9 \"b\"");
    json_decref(object);
}

static void missing_or_null_member_leaves_the_default(void **state) {
    json_t *object = load("{\"null\": null}");
    static const char *const keys[] = {"null", "missing"};
    for (size_t i = 0; i < 2; i++) {
        size_t size = 5;
        double number = 0.5;
        bool flag = true;
        const char *text = "as it was";
        assert_int_equal(sp_json_get_size(&size, object, keys[i], "c"), SP_OK);
        assert_int_equal(sp_json_get_double(&number, object, keys[i], "c"), SP_OK);
        assert_int_equal(sp_json_get_bool(&flag, object, keys[i], "c"), SP_OK);
        assert_int_equal(sp_json_get_string(&text, object, keys[i], "c"), SP_OK);
        assert_true(size == 5 && number == 0.5 && flag);
        assert_string_equal(text, "as it was");
    }
    json_decref(object);
}

static void member_of_another_type_is_refused_by_file_and_key(void **state) {
    json_t *object = load("{\"text\": \"30\", \"negative\": -1, \"real\": 30.0, \"number\": 1}");
    static const char *const not_sizes[] = {"text", "negative", "real"};
    size_t size = 5;
    for (size_t i = 0; i < sizeof not_sizes / sizeof not_sizes[0]; i++) {
        assert_int_equal(sp_json_get_size(&size, object, not_sizes[i], "config.json"), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), "config.json"));
        assert_non_null(strstr(sp_message(), not_sizes[i]));
    }
    double number = 0.5;
    bool flag = true;
    const char *text = "as it was";
    assert_int_equal(sp_json_get_double(&number, object, "text", "c"), SP_BAD_DATA);
    assert_int_equal(sp_json_get_bool(&flag, object, "number", "c"), SP_BAD_DATA);
    assert_int_equal(sp_json_get_string(&text, object, "number", "c"), SP_BAD_DATA);
    assert_true(size == 5 && number == 0.5 && flag);
    assert_string_equal(text, "as it was");
    json_decref(object);
}

static void text_cut_anywhere_is_refused(void **state) {
    static const char text[] = "{\"a\": [1, 2.5, \"x\"], \"b\": {\"c\": null}}";
    json_t *value = NULL;
    for (size_t n_bytes = 0; n_bytes < sizeof text - 1; n_bytes++) {
        assert_int_equal(sp_json_load_text(&value, text, n_bytes, "cut"), SP_BAD_DATA);
        assert_null(value);
    }
    assert_int_equal(sp_json_load_text(&value, text, sizeof text - 1, "whole"), SP_OK);
    json_decref(value);
}

static void ambiguous_text_is_refused_with_its_line(void **state) {
    static const char *const bad[] = {
        "{\"a\": 1,\n\"a\": 2}",   /* a repeated key */
        "{\"a\": 1}\n{}",          /* something behind the value */
        "{\"a\":\n\"\xff\"}",      /* not UTF-8 */
        "{\"a\":\n\"x\\u0000y\"}", /* a NUL, which would cut the string in C */
        "{\"a\":\n1e999}",         /* no finite number */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *value = NULL;
        assert_int_equal(sp_json_load_text(&value, bad[i], strlen(bad[i]), "bad"), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), "line 2"));
        assert_null(value);
    }
}

static void file_is_read_whole_and_named_in_errors(void **state) {
    char path[] = "/tmp/test_json.XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs("{\"a\": 1", file);
    assert_int_equal(fflush(file), 0);
    json_t *value = NULL;
    assert_int_equal(sp_json_load_file(&value, path), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), path));
    fputs("}\n", file);
    fclose(file);
    assert_int_equal(sp_json_load_file(&value, path), SP_OK);
    assert_int_equal(json_integer_value(json_object_get(value, "a")), 1);
    json_decref(value);
    unlink(path);
}

static void what_cannot_be_read_is_no_bad_data(void **state) {
    json_t *value = NULL;
    assert_int_equal(sp_json_load_file(&value, "/no/such/file.json"), SP_IO);
    assert_non_null(strstr(sp_message(), "/no/such/file.json"));
    assert_int_equal(sp_json_load_file(&value, "/tmp"), SP_IO); /* opens, but is a folder */
    assert_null(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_with_their_types),
        cmocka_unit_test(missing_or_null_member_leaves_the_default),
        cmocka_unit_test(member_of_another_type_is_refused_by_file_and_key),
        cmocka_unit_test(text_cut_anywhere_is_refused),
        cmocka_unit_test(ambiguous_text_is_refused_with_its_line),
        cmocka_unit_test(file_is_read_whole_and_named_in_errors),
        cmocka_unit_test(what_cannot_be_read_is_no_bad_data)};
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
