#include "tests/check.h"
#include "tests/temp_folder.h"
#include "tests/text_shard.h"

#include "io/text_reader.h"

#include <stdio.h>
#include <stdlib.h>

static void text_file_is_one_document(void **state) {
    shard_assert_documents(shard_put_text("a.txt", "one\ntwo\r\n\n"), "|0|one\ntwo\r\n\n\n");
    shard_assert_documents(shard_put_text("empty.txt", ""), "|0|\n");
    shard_assert_documents(shard_put("bytes.txt", "\xFF\xFE\0x", 4),
                           "|0|\xFF\xFE"); /* up to the NUL */
}

static void each_line_is_a_document(void **state) {
    shard_assert_documents(
        shard_put_text("a.jsonl", "{\"text\":\"one\"}\n{\"id\":\"x\",\"text\":\"two\"}"),
        "|0|one\nx|1|two\n");
    shard_assert_documents(
        shard_put_text("b.jsonl", "\n  \r\n{\"text\": \"\", \"id\": 12}\r\n\t\n"), "12|1|\n");
    shard_assert_documents(shard_put_text("c.jsonl", ""), "");
    shard_assert_documents(
        shard_put_text("d.jsonl", "\xEF\xBB\xBF{\"text\":\"after a byte order mark\"}"),
        "|0|after a byte order mark\n");
    shard_assert_documents(
        shard_put_text("e.jsonl", "{\"meta\":{\"text\":\"no\",\"a\":[1,-2.5e+3,true,null,{}]},"
                                  "\"text\":\"first\",\"id\":null, \"text\" : \"last\" }\n"),
        "|0|last\n");
}

static void escapes_are_decoded(void **state) {
    shard_assert_documents(shard_put_text("a.jsonl", "{\"text\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"),
                           "|0|\"\\/\b\f\n\r\t\n");
    shard_assert_documents(
        shard_put_text("b.jsonl", "{\"te\\u0078t\":\"\\u00e9\\u20AC\\ud83d\\uDE00\"}"),
        "|0|\u00e9\u20ac\U0001F600\n");
}

static void bytes_that_are_not_utf8_are_kept(void **state) {
    shard_assert_documents(
        shard_put_text("a.jsonl", "{\"text\":\"a\xFF\xC3(\xED\xA0\x80\",\"\xFE\":\"\xFF\"}"),
        "|0|a\xFF\xC3(\xED\xA0\x80\n");
    /* Half a surrogate pair is its three bytes. */
    shard_assert_documents(shard_put_text("b.jsonl", "{\"text\":\"\\ud83dx\\ude00\"}"),
                           "|0|\xED\xA0\xBDx\xED\xB8\x80\n");
}

static void bad_line_is_named(void **state) {
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"x", "not a JSON object"},
        {"[1]", "not a JSON object"},
        {"{\"text\":1}", "field 'text' is not a string"},
        {"{\"text\":null}", "field 'text' is not a string"},
        {"{\"id\":\"a\"}", "no field 'text'"},
        {"{\"text\":\"a\",\"id\":[]}", "field 'id'"},
        {"{\"text\":\"a\",\"id\":\"a\\u0000b\"}", "NUL"},
        {"{\"text\":\"a", "closing quote"},
        {"{\"text\":\"a\"", "expected ',' or '}'"},
        {"{\"text\":\"a\"} x", "follows the object"},
        {"{\"text\":\"a\",}", "member's name"},
        {"{\"text\" \"a\"}", "expected ':'"},
        {"{\"text\":\"a\tb\"}", "control character"},
        {"{\"text\":\"\\x\"}", "unknown escape"},
        {"{\"text\":\"\\u12g4\"}", "hexadecimal"},
        {"{\"text\":\"a\",\"b\":01}", "expected ',' or '}'"},
        {"{\"text\":\"a\",\"b\":nul}", "no JSON value"},
        {"{\"text\":\"a\",\"b\":[1 2]}", "expected ',' or ']'"},
        {"{\"text\":\"a\",\"b\":", "line ends"},
        {"{\"text\":\"a\",\"b\":1.}", "decimals"},
        {"{\"text\":\"a\",\"b\":1e}", "exponent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"text\":\"fine\"}\n\n%s\n", cases[i].line);
        const char *path = shard_put_text("bad.jsonl", text);
        shard_assert_refused(path, cases[i].message);
        shard_assert_refused(path, "line 3: ");
    }
}

static void deep_nesting_is_refused_rather_than_followed(void **state) {
    enum { DEPTH = 100000 };
    char *text = malloc(DEPTH + 64);
    const int n_begin = sprintf(text, "{\"text\":\"a\",\"b\":");
    memset(text + n_begin, '[', DEPTH);
    shard_assert_refused(shard_put("deep.jsonl", text, (size_t)n_begin + DEPTH),
                         "nested too deeply");
    free(text);
}

static void unknown_extension_names_the_known_ones(void **state) {
    shard_assert_refused(shard_put_text("a.csv", "x"), ".jsonl");
    shard_assert_refused(shard_put_text("txt", "x"), ".txt");
    shard_assert_refused(shard_put_text("a.gz", "x"), ".gz");
    uint64_t n_bytes = 0;
    assert_int_equal(sp_text_file_size(shard_put_text("a.json", "x"), &n_bytes), SP_BAD_DATA);
    assert_int_equal(sp_text_file_size(shard_put_text("a.txt", "xyz"), &n_bytes), SP_OK);
    assert_int_equal(n_bytes, 3);
    char missing[TEMP_PATH_SIZE];
    assert_int_equal(sp_text_file_size(temp_path(missing, shard_folder(), "no.txt"), &n_bytes),
                     SP_IO);
}

static void line_longer_than_any_buffer_is_read(void **state) {
    enum { LETTERS = 3 << 20 };
    char *text = malloc(LETTERS + 64);
    const int n_begin = sprintf(text, "{\"text\":\"");
    memset(text + n_begin, 'a', LETTERS);
    const int n_end = sprintf(text + n_begin + LETTERS, "\"}\n{\"text\":\"b\"}\n");
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = shard_put("long.jsonl", text, (size_t)(n_begin + LETTERS + n_end));
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(document.n_bytes, LETTERS);
    assert_memory_equal(document.text, text + n_begin, LETTERS);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(!end && document.n_bytes == 1 && document.row == 2);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);
    free(text);
}

static void made_up_ids_are_file_and_line(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    char expected[TEMP_PATH_SIZE + 8];
    const char *path = shard_put_text("a.jsonl", "\n{\"text\":\"x\"}\n");
    snprintf(expected, sizeof expected, "%s:2", path);
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_string_equal(document.id, expected);
    sp_text_reader_close(reader);

    path = shard_put_text("a.txt", "x");
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_string_equal(document.id, path);
    sp_text_reader_close(reader);
}

static void reading_goes_on_behind_a_bad_line(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path =
        shard_put_text("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"brok\n\n{\"text\":\"c\"}\n[");
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    static const sp_status expected[] = {SP_OK, SP_BAD_DATA, SP_OK, SP_BAD_DATA};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(sp_text_reader_next(reader, &document, &end), expected[i]);
        assert_false(end);
        if (i % 2 == 1) assert_int_equal(sp_text_reader_loss(reader), SP_LOST_ROW);
    }
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);
}

/* ---- columns and conditions ---- */

static void column_names_the_field_of_the_text(void **state) {
    size_t n = 0;
    char *listing = NULL;
    const char *path = shard_put_text("a.jsonl", "{\"text\":1,\"body\":\"x\",\"id\":\"i\"}\n");
    shard_read_with(&listing, path, NULL, &(sp_text_options){.column = "body"}, &n);
    assert_string_equal(listing, "i|1|x\n");
    free(listing);
    shard_read_with(&listing, path, NULL, &(sp_text_options){.column = "id"}, &n);
    assert_string_equal(listing, "i|1|i\n");
    free(listing);
}

static void conditions_are_asked_of_the_fields_of_a_line(void **state) {
    static const char lines[] =
        "{\"id\":\"a\",\"text\":\"\",\"n\":5,\"s\":0.5,\"l\":\"en\"}\n"
        "{\"id\":\"b\",\"text\":\"\",\"n\":-7,\"s\":2e3,\"l\":\"e\\u006e\"}\n"
        "{\"id\":\"c\",\"text\":\"\",\"n\":null,\"l\":\"de\"}\n"
        "{\"id\":\"d\",\"text\":\"\",\"m\":{\"n\":1},\"l\":\"\"}\n"
        "{\"id\":\"e\",\"text\":7,\"n\":99}\n"
        "{\"id\":\"f\",\"text\":\"\",\"n\":9223372036854775807}\n";
    static const struct {
        const char *conditions[2], *ids;
    } cases[] = {
        {{"n >= -7", "n < 50"}, "ab"},
        {{"n != 5", "n<99"}, "b"},
        {{"s > 0.5"}, "b"},
        {{"l = en"}, "ab"},
        {{"l = ''"}, "d"},
        {{"n = 9223372036854775807"}, "f"},
        {{"n = 9223372036854775806"}, ""},
        {{"n = 5.0"}, "a"},
    };
    const char *path = shard_put_text("a.jsonl", lines);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sp_condition items[2];
        sp_conditions where = {.items = items};
        for (; where.n < 2 && cases[i].conditions[where.n] != NULL; where.n++)
            assert_int_equal(sp_condition_parse(&items[where.n], cases[i].conditions[where.n]),
                             SP_OK);
        char *listing = NULL, ids[8] = "";
        size_t n = 0;
        shard_read_with(&listing, path, NULL, &(sp_text_options){.where = &where}, &n);
        for (const char *line = listing; *line != '\0'; line = strchr(line, '\n') + 1)
            strncat(ids, line, 1);
        assert_string_equal(ids, cases[i].ids);
        free(listing);
        for (size_t k = 0; k < where.n; k++) sp_condition_free(&items[k]);
    }
}

static void conditions_that_cannot_be_asked_are_errors(void **state) {
    static const struct {
        const char *condition, *message;
    } cases[] = {{"n = many", "line 1: 'n' is a number, and is compared with 'many'"},
                 {"t = true", "line 1: 't' is neither text nor a number"},
                 {"o = 1", "line 1: 'o' is neither text nor a number"}};
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = shard_put_text("a.jsonl", "{\"text\":\"\",\"n\":5,\"t\":true,\"o\":[1]}\n");
    for (size_t i = 0; i < 3; i++) {
        sp_condition condition;
        assert_int_equal(sp_condition_parse(&condition, cases[i].condition), SP_OK);
        const sp_conditions where = {.items = &condition, .n = 1};
        const sp_text_options options = {.where = &where};
        assert_int_equal(sp_text_reader_open(&reader, path, NULL, &options), SP_OK);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), cases[i].message));
        sp_text_reader_close(reader);
        sp_condition_free(&condition);
    }
    sp_condition condition;
    assert_int_equal(sp_condition_parse(&condition, "n = 1"), SP_OK);
    const sp_conditions where = {.items = &condition, .n = 1};
    assert_int_equal(sp_text_reader_open(&reader, shard_put_text("a.txt", "x"), NULL,
                                         &(sp_text_options){.where = &where}),
                     SP_USAGE);
    sp_condition_free(&condition);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_file_is_one_document),
        cmocka_unit_test(each_line_is_a_document),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(bytes_that_are_not_utf8_are_kept),
        cmocka_unit_test(bad_line_is_named),
        cmocka_unit_test(deep_nesting_is_refused_rather_than_followed),
        cmocka_unit_test(unknown_extension_names_the_known_ones),
        cmocka_unit_test(line_longer_than_any_buffer_is_read),
        cmocka_unit_test(made_up_ids_are_file_and_line),
        cmocka_unit_test(reading_goes_on_behind_a_bad_line),
        cmocka_unit_test(column_names_the_field_of_the_text),
        cmocka_unit_test(conditions_are_asked_of_the_fields_of_a_line),
        cmocka_unit_test(conditions_that_cannot_be_asked_are_errors)};
    return cmocka_run_group_tests_name("text_reader", tests, shard_set_up, shard_tear_down);
}
