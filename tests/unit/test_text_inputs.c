#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/text_inputs.h"

#include <stdio.h>
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

static void put(const char *name) {
    char path[TEMP_PATH_SIZE];
    temp_write(temp_path(path, dir, name), "x", 1);
}

static void put_folder(const char *name) {
    char path[TEMP_PATH_SIZE];
    assert_int_equal(mkdir(temp_path(path, dir, name), 0700), 0);
}

/* The names [n] below dir expand to the names of `expected`, which blanks separate. */
static void assert_expands(const char *const *names, size_t n, const char *expected,
                           size_t n_passed_by) {
    char paths[4][TEMP_PATH_SIZE], listing[1024] = "";
    const char *arguments[4];
    for (size_t i = 0; i < n; i++) arguments[i] = temp_path(paths[i], dir, names[i]);
    sp_text_inputs inputs = {0};
    if (sp_text_inputs_expand(&inputs, arguments, n) != SP_OK) fail_msg("%s", sp_message());
    for (size_t i = 0; i < inputs.n; i++) {
        const char *path = inputs.paths[i];
        assert_memory_equal(path, dir, strlen(dir));
        strcat(listing, i > 0 ? " " : "");
        strcat(listing, path + strlen(dir) + 1);
    }
    assert_string_equal(listing, expected);
    assert_int_equal(inputs.n_passed_by, n_passed_by);
    sp_text_inputs_free(&inputs);
}

static void make_tree(void) {
    static const char *const folders[] = {"d", "d/b", "d/b/z", "d/.hidden", "e"};
    static const char *const files[] = {"d/c.txt",     "d/a.parquet",   "d/B.jsonl.zst",
                                        "d/b/2.txt",   "d/b/10.txt.gz", "d/b/z/x.txt",
                                        "d/README.md", "d/.x.txt",      "d/.hidden/y.txt",
                                        "e/notes.csv", "one.odd",       "s[1].txt"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) put_folder(folders[i]);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) put(files[i]);
}

static void folder_is_its_texts_in_the_order_of_their_bytes(void **state) {
    make_tree();
    assert_expands((const char *[]){"d"}, 1,
                   "d/B.jsonl.zst d/a.parquet d/b/10.txt.gz d/b/2.txt d/b/z/x.txt d/c.txt", 1);
    assert_expands((const char *[]){"d/b/"}, 1, "d/b/10.txt.gz d/b/2.txt d/b/z/x.txt", 0);
}

static void arguments_keep_their_order(void **state) {
    make_tree();
    assert_expands((const char *[]){"d/c.txt", "d/b/z", "one.odd", "d/c.txt"}, 4,
                   "d/c.txt d/b/z/x.txt one.odd d/c.txt", 0);
}

static void patterns_are_sorted_and_may_match_folders(void **state) {
    make_tree();
    assert_expands((const char *[]){"d/*.*"}, 1, "d/B.jsonl.zst d/README.md d/a.parquet d/c.txt",
                   0);
    assert_expands((const char *[]){"d/[ab]*"}, 1,
                   "d/a.parquet d/b/10.txt.gz d/b/2.txt d/b/z/x.txt", 0);
    assert_expands((const char *[]){"s[1].txt"}, 1, "s[1].txt", 0); /* there as it is */
}

static void assert_refused(const char *name, const char *text) {
    char path[TEMP_PATH_SIZE];
    sp_text_inputs inputs = {0};
    const char *names[] = {temp_path(path, dir, name)};
    assert_int_equal(sp_text_inputs_expand(&inputs, names, 1), SP_IO);
    if (strstr(sp_message(), text) == NULL) fail_msg("'%s'", sp_message());
    assert_non_null(strstr(sp_message(), path));
    assert_null(inputs.paths);
}

static void what_is_not_there_is_named(void **state) {
    make_tree();
    assert_refused("none.txt", "No such file");
    assert_refused("none*.txt", "nothing matches");
    assert_refused("e", "holds no .parquet");
}

static void links_in_a_circle_end(void **state) {
    char path[TEMP_PATH_SIZE];
    sp_text_inputs inputs = {0};
    make_tree();
    assert_int_equal(symlink("..", temp_path(path, dir, "d/b/up")), 0);
    const char *names[] = {temp_path(path, dir, "d")};
    assert_int_equal(sp_text_inputs_expand(&inputs, names, 1), SP_IO);
    assert_null(inputs.paths);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, create_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {WITH_FOLDER(folder_is_its_texts_in_the_order_of_their_bytes),
                                       WITH_FOLDER(arguments_keep_their_order),
                                       WITH_FOLDER(patterns_are_sorted_and_may_match_folders),
                                       WITH_FOLDER(what_is_not_there_is_named),
                                       WITH_FOLDER(links_in_a_circle_end)};
    return cmocka_run_group_tests_name("text_inputs", tests, NULL, NULL);
}
