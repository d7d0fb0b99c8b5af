#include "tests/check.h"
#include "tests/temp_folder.h"

#include "run/run_folder.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static void put(const char *name, const char *text) {
    char path[TEMP_PATH_SIZE];
    temp_write(temp_path(path, dir, name), text, strlen(text));
}

static void put_folder(const char *name) {
    char path[TEMP_PATH_SIZE];
    assert_int_equal(mkdir(temp_path(path, dir, name), 0777), 0);
}

static bool has(const char *name) {
    char path[TEMP_PATH_SIZE];
    return access(temp_path(path, dir, name), F_OK) == 0;
}

static void a_file_that_asks_for_something_is_taken_once(void **state) {
    assert_false(sp_run_folder_take(dir, "SAVE"));
    put("SAVE", "");
    assert_true(sp_run_folder_take(dir, "SAVE"));
    assert_false(has("SAVE"));
    assert_true(has("SAVE.taken"));
    assert_false(sp_run_folder_take(dir, "SAVE"));
    put("SAVE", "again");
    assert_true(sp_run_folder_take(dir, "SAVE"));
    assert_false(has("SAVE"));
}

static void checkpoints_and_metrics_are_set_aside_and_nothing_else(void **state) {
    put("metrics.jsonl", "{}\n");
    put_folder("step-0000010");
    put("step-0000010/manifest.json", "{}");
    put_folder("step-0000020");
    put("lock", "");
    put("notes.txt", "mine");
    must(sp_run_folder_set_aside(dir));
    assert_true(has("previous-1/metrics.jsonl"));
    assert_true(has("previous-1/step-0000010/manifest.json"));
    assert_true(has("previous-1/step-0000020"));
    assert_true(has("lock") && has("notes.txt"));
    assert_false(has("metrics.jsonl") || has("step-0000010") || has("step-0000020"));
    assert_int_equal(temp_count(dir), 3);
}

static void runs_before_stay_where_they_are(void **state) {
    for (int i = 0; i < 3; i++) {
        put("metrics.jsonl", i == 1 ? "second" : "other");
        must(sp_run_folder_set_aside(dir));
    }
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    char *text = temp_read(temp_path(path, dir, "previous-2/metrics.jsonl"), &n_bytes);
    assert_string_equal(text, "second");
    free(text);
    assert_true(has("previous-3/metrics.jsonl"));
}

static void a_folder_without_a_run_stays_as_it_is(void **state) {
    put("notes.txt", "mine");
    must(sp_run_folder_set_aside(dir));
    assert_int_equal(temp_count(dir), 1);
}

static void a_folder_that_is_not_there_is_an_error(void **state) {
    assert_int_equal(sp_run_folder_set_aside("/no/such/folder"), SP_IO);
    assert_non_null(strstr(sp_message(), "/no/such/folder"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, create_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_asks_for_something_is_taken_once),
        TEST(checkpoints_and_metrics_are_set_aside_and_nothing_else),
        TEST(runs_before_stay_where_they_are),
        TEST(a_folder_without_a_run_stays_as_it_is),
        TEST(a_folder_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests_name("run folder", tests, NULL, NULL);
}
