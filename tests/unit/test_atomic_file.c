#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/atomic_file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(path, dir, "file");
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static void assert_contents(const char *expected) {
    size_t n_bytes = 0;
    char *data = temp_read(path, &n_bytes);
    assert_string_equal(data, expected);
    free(data);
}

static void contents_appear_with_the_commit(void **state) {
    sp_atomic_file file = {0};
    assert_int_equal(sp_atomic_begin(&file, path), SP_OK);
    assert_int_equal(sp_write_all(file.fd, "new", 3, path), SP_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(sp_atomic_commit(&file), SP_OK);
    assert_contents("new");
    assert_int_equal(temp_count(dir), 1);
    assert_null(file.path);
}

static void aborted_writing_changes_nothing(void **state) {
    temp_write(path, "old", 3);
    sp_atomic_file file = {0};
    assert_int_equal(sp_atomic_begin(&file, path), SP_OK);
    assert_int_equal(sp_write_all(file.fd, "new", 3, path), SP_OK);
    sp_atomic_abort(&file);
    sp_atomic_abort(&file); /* an empty one is fine */
    assert_contents("old");
    assert_int_equal(temp_count(dir), 1);
}

static void second_writer_of_a_file_is_refused(void **state) {
    sp_atomic_file first = {0}, second = {0};
    assert_int_equal(sp_atomic_begin(&first, path), SP_OK);
    assert_int_equal(sp_atomic_begin(&second, path), SP_FAILURE);
    assert_non_null(strstr(sp_message(), path));
    sp_atomic_abort(&first);
    assert_int_equal(sp_atomic_begin(&second, path), SP_OK);
    sp_atomic_abort(&second);
}

static void what_a_killed_writer_left_is_taken_over(void **state) {
    char temp[TEMP_PATH_SIZE];
    temp_write(temp_path(temp, dir, "file.tmp"), "some half of a file", 19);
    assert_int_equal(sp_atomic_write(path, "whole", 5), SP_OK);
    assert_contents("whole");
    assert_int_equal(temp_count(dir), 1);
}

static void missing_folder_and_folder_as_target_are_refused(void **state) {
    char missing[TEMP_PATH_SIZE];
    assert_int_equal(sp_atomic_write(temp_path(missing, dir, "none/file"), "x", 1), SP_IO);
    assert_non_null(strstr(sp_message(), "No such file"));
    assert_int_equal(sp_atomic_write(dir, "x", 1), SP_IO);
    assert_non_null(strstr(sp_message(), "is a directory"));
}

static void full_disk_leaves_the_old_contents(void **state) {
    temp_write(path, "old", 3);
    temp_limit_files(2);
    const sp_status status = sp_atomic_write(path, "new", 3);
    temp_limit_files(UINT64_MAX);
    assert_int_equal(status, SP_IO);
    assert_contents("old");
    assert_int_equal(temp_count(dir), 1);
}

static void folders_are_made_and_removed(void **state) {
    char deep[TEMP_PATH_SIZE], inside[TEMP_PATH_SIZE];
    struct stat info;
    temp_path(deep, dir, "a/b/c");
    assert_int_equal(sp_make_folders(deep), SP_OK);
    assert_int_equal(sp_make_folders(deep), SP_OK); /* there already */
    assert_true(stat(deep, &info) == 0 && S_ISDIR(info.st_mode));
    temp_write(temp_path(inside, dir, "a/b/c/file"), "x", 1);
    assert_int_equal(sp_remove_folder(deep), SP_OK);
    assert_int_equal(sp_remove_folder(deep), SP_OK); /* gone already */
    assert_int_equal(access(deep, F_OK), -1);
    temp_write(path, "x", 1);
    assert_int_equal(sp_make_folders(temp_path(inside, dir, "file/below")), SP_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(contents_appear_with_the_commit, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(aborted_writing_changes_nothing, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(second_writer_of_a_file_is_refused, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(what_a_killed_writer_left_is_taken_over, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(missing_folder_and_folder_as_target_are_refused,
                                        create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(full_disk_leaves_the_old_contents, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(folders_are_made_and_removed, create_folder,
                                        remove_folder)};
    return cmocka_run_group_tests_name("atomic_file", tests, NULL, NULL);
}
