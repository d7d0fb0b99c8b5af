#include "tests/check.h"
#include "tests/temp_folder.h"
#include "tests/text_shard.h"

#include "io/text_reader.h"

#include <stdio.h>
#include <stdlib.h>

static void ranges_of_any_size_make_the_file(void **state) {
    size_t n_bytes = 0, n_whole = 0;
    char *text = shard_lines(&n_bytes), *whole = NULL;
    const char *path = shard_put("a.jsonl", text, n_bytes);
    assert_int_equal(shard_read_all(&whole, &n_whole, path), SP_OK);
    for (uint64_t range = 1; range < n_bytes + 40; range = range < 40 ? range + 1 : range + 53) {
        sp_text_unit *units = NULL;
        size_t n_units = 0, n_documents = 0, n_listed = 0;
        uint64_t sum = 0;
        assert_int_equal(sp_text_units(&units, &n_units, path, range, NULL), SP_OK);
        assert_int_equal(n_units, (n_bytes + range - 1) / range);
        for (size_t i = 0; i < n_units; i++) {
            char *part = NULL;
            shard_read_with(&part, path, &units[i], NULL, &n_documents);
            assert_memory_equal(part, whole + n_listed, strlen(part));
            n_listed += strlen(part);
            sum += units[i].n_bytes;
            free(part);
        }
        assert_int_equal(n_documents, n_whole);
        assert_int_equal(n_listed, strlen(whole));
        assert_int_equal(sum, n_bytes);
        free(units);
    }
    free(whole);
    free(text);
}

static void lines_of_a_range_are_numbered_in_the_file(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    char expected[TEMP_PATH_SIZE + 8];
    const char *path = shard_put_text("a.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"b\"}\nbad\n");
    const sp_text_unit unit = {.begin = 1, .end = 100};
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    snprintf(expected, sizeof expected, "%s:3", path);
    assert_string_equal(document.id, expected);
    assert_int_equal(document.row, 3);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 4: column 1: not a JSON object"));
    sp_text_reader_close(reader);
}

/* Reads a range that knows how many lines lie before it, and checks what its documents are: "w" wanted,
   "u" unwanted, "x" lost. Adds to text, and to the lines passed. */
static void name_lines(char *text, uint64_t *n_lines, const char *path, sp_text_unit unit,
                       const sp_text_options *options) {
    sp_text_reader *reader = NULL;
    unit.n_rows_before = *n_lines;
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, options), SP_OK);
    for (;;) {
        sp_document document;
        bool end = false;
        const sp_status status = sp_text_reader_next(reader, &document, &end);
        uint64_t row = document.row, n_rows = 1;
        if (status == SP_OK && end) break;
        if (status != SP_OK) sp_text_reader_lost_rows(reader, &row, &n_rows);
        assert_int_equal(n_rows, 1);
        const char *kind = status != SP_OK ? "x" : document.is_unwanted ? "u" : "w";
        sprintf(text + strlen(text), "%ju%s ", (uintmax_t)row, kind);
        if (status == SP_OK && document.is_unwanted) assert_int_equal(document.n_bytes, 0);
        if (row == 4) assert_string_equal(document.id, "own");
        if (row == 8) {
            char expected[TEMP_PATH_SIZE + 8];
            snprintf(expected, sizeof expected, "%s:8", path);
            assert_string_equal(document.id, expected);
            assert_string_equal(sp_text_reader_row_id(reader, 8), expected);
        }
    }
    *n_lines += sp_text_reader_n_lines(reader);
    sp_text_reader_close(reader);
}

static void every_line_keeps_its_number(void **state) {
    const char *path = shard_put_text(
        "a.jsonl", "{\"text\":\"a\",\"n\":3}\n\n{\"text\":\"b\"}\n"
                   "{\"id\":\"own\",\"text\":7,\"n\":1}\nbad\n{\"text\":null,\"n\":3}\n"
                   "{\"text\":\"c\",\"n\":4}\n{\"id\":[],\"n\":1}\n");
    sp_condition condition;
    assert_int_equal(sp_condition_parse(&condition, "n >= 3"), SP_OK);
    const sp_conditions where = {.items = &condition, .n = 1};
    const sp_text_options options = {.where = &where, .gives_unwanted = true};
    for (uint64_t range = 1; range < 140; range++) {
        sp_text_unit *units = NULL;
        size_t n_units = 0;
        char text[256] = "";
        uint64_t n_lines = 0;
        assert_int_equal(sp_text_units(&units, &n_units, path, range, NULL), SP_OK);
        for (size_t i = 0; i < n_units; i++) name_lines(text, &n_lines, path, units[i], &options);
        assert_string_equal(text, "1w 3u 4u 5x 6x 7w 8u ");
        assert_int_equal(n_lines, 8);
        free(units);
    }
    sp_condition_free(&condition);
}

/* Whoever needs no rows has no line counted that lies before the range. */
static void rows_that_nobody_needs_are_not_counted(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = shard_put_text("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\nbad\n");
    const sp_text_unit unit = {.begin = 5, .end = 100};
    const sp_text_options none = {.rows = SP_ROWS_UNNEEDED}, damage = {.rows = SP_ROWS_OF_DAMAGE};
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, &none), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(document.row, 0);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 2 after byte 13: "));
    sp_text_reader_close(reader);
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, &damage), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(document.row, 0);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 3: "));
    sp_text_reader_close(reader);
}

static void what_cannot_be_divided_is_one_unit(void **state) {
    static const char *const names[] = {"a.txt", "a.jsonl.gz", "a.txt.zst", "empty.jsonl"};
    for (size_t i = 0; i < 4; i++) {
        sp_text_unit *units = NULL;
        size_t n_units = 0;
        const char *path = shard_put_text(names[i], i < 3 ? "some bytes" : "");
        assert_int_equal(sp_text_units(&units, &n_units, path, 1, NULL), SP_OK);
        assert_int_equal(n_units, 1);
        assert_true(units[0].begin == 0 && units[0].end == UINT64_MAX);
        assert_int_equal(units[0].n_bytes, i < 3 ? 10 : 0);
        free(units);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_of_any_size_make_the_file),
                                       cmocka_unit_test(lines_of_a_range_are_numbered_in_the_file),
                                       cmocka_unit_test(every_line_keeps_its_number),
                                       cmocka_unit_test(rows_that_nobody_needs_are_not_counted),
                                       cmocka_unit_test(what_cannot_be_divided_is_one_unit)};
    return cmocka_run_group_tests_name("text_units", tests, shard_set_up, shard_tear_down);
}
