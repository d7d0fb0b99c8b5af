/* Rows of fine-tuning: both forms, and that every bad line is named and passed over. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/task_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

static int set_up(void **state) { return temp_file_set_up(state, "rows.jsonl"); }

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static sp_task_file *open_rows(const temp_file *file, const char *text) {
    sp_task_file *rows = NULL;
    temp_write(file->path, text, strlen(text));
    must(sp_task_file_open(&rows, file->path));
    return rows;
}

static void next(sp_task_file *rows, sp_task_row *row) {
    bool end = true;
    must(sp_task_file_next(rows, row, &end));
    assert_false(end);
}

static void check_end(sp_task_file *rows) {
    sp_task_row row;
    bool end = false;
    must(sp_task_file_next(rows, &row, &end));
    assert_true(end);
    sp_task_file_close(rows);
}

static void both_forms_are_read(void **state) {
    sp_task_row row;
    sp_task_file *rows = open_rows(
        *state, "{\"id\": 7, \"context\": \"a\\u00e9\", \"prompt\": \"\", \"answer\": \"b\"}\r\n"
                "  \n"
                "{\"context\": \"c\", \"messages\": [{\"role\": \"system\", \"content\": \"s\"},"
                " {\"role\": \"user\", \"name\": \"Ann\", \"content\": \"u\"},"
                " {\"role\": \"assistant\", \"name\": null, \"content\": \"v\"}]}");
    next(rows, &row);
    assert_string_equal(row.context, "a\xC3\xA9");
    assert_string_equal(row.prompt, "");
    assert_string_equal(row.answer, "b");
    assert_null(row.messages);
    assert_int_equal(row.line, 1);
    next(rows, &row);
    assert_int_equal(row.line, 3);
    assert_null(row.prompt);
    assert_int_equal(row.n_messages, 3);
    assert_int_equal(row.messages[0].role, SP_ROLE_SYSTEM);
    assert_string_equal(row.messages[1].name, "Ann");
    assert_string_equal(row.messages[1].content, "u");
    assert_int_equal(row.messages[2].role, SP_ROLE_ASSISTANT);
    assert_null(row.messages[2].name);
    check_end(rows);
}

#define ROW "{\"context\": \"c\", \"prompt\": \"p\", \"answer\": \"a\"}\n"
#define CHAT(messages) "{\"context\": \"c\", \"messages\": [" messages "]}\n"
#define USER "{\"role\": \"user\", \"content\": \"u\"}"
#define ASSISTANT "{\"role\": \"assistant\", \"content\": \"a\"}"

static void bad_lines_are_named_and_passed_over(void **state) {
    const temp_file *file = *state;
    static const struct {
        const char *line, *what;
    } bad[] = {
        {"nothing\n", "not a JSON object"},
        {"[1]\n", "not a JSON object: a list"},
        {"{\"context\": \"c\", \"context\": \"c\"}\n", "duplicate object key"},
        {"{\"context\": \"\xFF\"}\n", "not a JSON object"},
        {"{\"prompt\": \"p\", \"answer\": \"a\"}\n", "no field 'context'"},
        {"{\"context\": \"\", \"prompt\": \"p\", \"answer\": \"a\"}\n",
         "nothing in field 'context'"},
        {"{\"context\": 1, \"prompt\": \"p\", \"answer\": \"a\"}\n",
         "not a string: field 'context'"},
        {"{\"context\": \"c\", \"answer\": \"a\"}\n", "no field 'prompt'"},
        {"{\"context\": \"c\", \"prompt\": \"p\"}\n", "no field 'answer'"},
        {"{\"context\": \"c\", \"prompt\": \"p\", \"answer\": \"\"}\n",
         "nothing in field 'answer'"},
        {CHAT(USER), "not a list of two or more messages"},
        {CHAT(USER ", 3"), "not an object: an item of 'messages'"},
        {CHAT(ASSISTANT ", " USER), "do not take turns"},
        {CHAT(USER ", " USER), "do not take turns"},
        {CHAT(USER ", " ASSISTANT ", " USER), "do not take turns"},
        {CHAT(USER ", {\"role\": \"system\", \"content\": \"s\"}"), "do not take turns"},
        {CHAT(USER ", {\"role\": \"robot\", \"content\": \"s\"}"),
         "not system, user or assistant: role 'robot'"},
        {CHAT(USER ", {\"role\": \"assistant\", \"content\": \"\"}"), "nothing in field 'content'"},
        {"{\"context\": \"c\", \"answer\": \"a\", \"messages\": [" USER ", " ASSISTANT "]}\n",
         "do not go with field 'messages'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[512], place[600];
        sp_task_row row;
        bool end = false;
        snprintf(text, sizeof text, "%s%s%s", ROW, bad[i].line, ROW);
        snprintf(place, sizeof place, "'%s', line 2: ", file->path);
        sp_task_file *rows = open_rows(file, text);
        next(rows, &row);
        assert_int_equal(sp_task_file_next(rows, &row, &end), SP_BAD_DATA);
        if (strncmp(sp_message(), place, strlen(place)) != 0 ||
            strstr(sp_message(), bad[i].what) == NULL)
            fail_msg("'%s' is not said of %s, but %s", bad[i].what, bad[i].line, sp_message());
        next(rows, &row);
        assert_int_equal(row.line, 3);
        assert_string_equal(row.answer, "a");
        check_end(rows);
    }
}

static void file_cut_anywhere_gives_its_whole_rows_only(void **state) {
    const temp_file *file = *state;
    static const char whole[] = ROW ROW;
    const size_t n_row = strlen(ROW);
    for (size_t n = 0; n < sizeof whole; n++) {
        char text[sizeof whole];
        sp_task_row row;
        bool end = false;
        memcpy(text, whole, n);
        text[n] = '\0';
        sp_task_file *rows = open_rows(file, text);
        /* A row is whole without its newline. */
        const size_t n_whole = (n + 1) / n_row;
        for (size_t i = 0; i < n_whole; i++) next(rows, &row);
        if (n == n_whole * n_row || n + 1 == n_whole * n_row) {
            check_end(rows);
            continue;
        }
        assert_int_equal(sp_task_file_next(rows, &row, &end), SP_BAD_DATA);
        check_end(rows);
    }
}

/* Longer than any buffer at the start. */
static void long_lines_are_read(void **state) {
    enum { LENGTH = 300000 };
    const temp_file *file = *state;
    char *text = malloc(3 * LENGTH);
    sp_task_row row;
    int n = sprintf(text, ROW "{\"prompt\": \"p\", \"answer\": \"a\", \"context\": \"");
    memset(text + n, 'x', LENGTH);
    strcpy(text + n + LENGTH, "\"}\n" ROW);
    sp_task_file *rows = open_rows(file, text);
    next(rows, &row);
    next(rows, &row);
    assert_int_equal(strlen(row.context), LENGTH);
    next(rows, &row);
    assert_int_equal(row.line, 3);
    check_end(rows);
    free(text);
}

/* Whatever stands in it, a file comes to its end, and what is no row is bad data. */
static void random_damage_is_bad_data_at_worst(void **state) {
    enum { N_FILES = 2000, N_CHANGES = 4 };
    const temp_file *file = *state;
    static const char whole[] = ROW CHAT(USER ", " ASSISTANT) ROW;
    uint32_t random = 1;
    for (int i = 0; i < N_FILES; i++) {
        char text[sizeof whole];
        size_t n_calls = 0;
        memcpy(text, whole, sizeof whole);
        for (int k = 0; k < N_CHANGES; k++) {
            random = random * 1664525 + 1013904223;
            text[(random >> 8) % (sizeof whole - 1)] = "\"{}[]:,\\\n\0u\x80"[(random >> 3) % 12];
        }
        sp_task_file *rows = NULL;
        temp_write(file->path, text, sizeof whole - 1);
        must(sp_task_file_open(&rows, file->path));
        for (bool end = false; !end; n_calls++) {
            sp_task_row row = {0};
            const sp_status status = sp_task_file_next(rows, &row, &end);
            assert_true(status == SP_OK || status == SP_BAD_DATA);
            assert_true(n_calls <= sizeof whole);
            if (status == SP_OK && !end) assert_true(*row.context != '\0');
        }
        sp_task_file_close(rows);
    }
}

static void packed_files_are_read_and_others_refused(void **state) {
    const temp_file *file = *state;
    char path[TEMP_PATH_SIZE];
    sp_task_file *rows = NULL;
    sp_task_row row;
    gzFile packed = gzopen(temp_path(path, file->dir, "rows.jsonl.gz"), "wb");
    assert_int_equal(gzputs(packed, ROW ROW), 2 * strlen(ROW));
    gzclose(packed);
    must(sp_task_file_open(&rows, path));
    next(rows, &row);
    next(rows, &row);
    check_end(rows);
    rows = NULL;
    assert_int_equal(sp_task_file_open(&rows, temp_path(path, file->dir, "rows.json")),
                     SP_BAD_DATA);
    assert_int_equal(sp_task_file_open(&rows, temp_path(path, file->dir, "no.jsonl")), SP_IO);
    assert_null(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_forms_are_read, set_up, temp_file_tear_down),
        cmocka_unit_test_setup_teardown(bad_lines_are_named_and_passed_over, set_up,
                                        temp_file_tear_down),
        cmocka_unit_test_setup_teardown(file_cut_anywhere_gives_its_whole_rows_only, set_up,
                                        temp_file_tear_down),
        cmocka_unit_test_setup_teardown(long_lines_are_read, set_up, temp_file_tear_down),
        cmocka_unit_test_setup_teardown(random_damage_is_bad_data_at_worst, set_up,
                                        temp_file_tear_down),
        cmocka_unit_test_setup_teardown(packed_files_are_read_and_others_refused, set_up,
                                        temp_file_tear_down),
    };
    return cmocka_run_group_tests_name("task_file", tests, NULL, NULL);
}
