#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/checksums.h"

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

/* FIPS 180-2, appendix B, and the sum of nothing. */
#define SUM_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SUM_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char *put(char path[TEMP_PATH_SIZE], const char *name, const char *text) {
    temp_write(temp_path(path, dir, name), text, strlen(text));
    return path;
}

/* Checks a file against a list. */
static sp_status check(const char *list, const char *path, bool *is_listed) {
    char list_path[TEMP_PATH_SIZE];
    sp_checksums *checksums = NULL;
    if (sp_checksums_open(&checksums, put(list_path, "SHA256SUMS", list)) != SP_OK)
        fail_msg("%s", sp_message());
    const sp_status status = sp_checksums_check(checksums, path, is_listed);
    sp_checksums_close(checksums);
    return status;
}

static void sums_are_sha_256(void **state) {
    char path[TEMP_PATH_SIZE];
    bool is_listed = false;
    assert_int_equal(check(SUM_OF_ABC "  abc.txt\n", put(path, "abc.txt", "abc"), &is_listed),
                     SP_OK);
    assert_true(is_listed);
    assert_int_equal(check(SUM_OF_NOTHING " *empty.txt\n", put(path, "empty.txt", ""), &is_listed),
                     SP_OK);
    assert_true(is_listed);
}

static void another_sum_is_refused_by_name(void **state) {
    char path[TEMP_PATH_SIZE];
    bool is_listed = false;
    assert_int_equal(check(SUM_OF_NOTHING "  abc.txt\n", put(path, "abc.txt", "abc"), &is_listed),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), path));
    assert_non_null(strstr(sp_message(), SUM_OF_ABC));
    unlink(path);
    assert_int_equal(check(SUM_OF_ABC "  abc.txt\n", path, &is_listed), SP_IO);
    assert_non_null(strstr(sp_message(), path));
}

static void name_is_the_end_of_the_path_at_a_folder(void **state) {
    static const struct {
        const char *name;
        bool is_it;
    } cases[] = {{"abc.txt", true},     {"sub/abc.txt", true}, {"./sub/abc.txt", true},
                 {"bc.txt", false},     {"ub/abc.txt", false}, {"other/abc.txt", false},
                 {"abc.txt.gz", false}, {"abc", false}};
    char path[TEMP_PATH_SIZE], list[TEMP_PATH_SIZE + 100];
    assert_int_equal(mkdir(temp_path(path, dir, "sub"), 0700), 0);
    put(path, "sub/abc.txt", "abc");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool is_listed = !cases[i].is_it;
        snprintf(list, sizeof list, SUM_OF_ABC "  %s\n", cases[i].name);
        assert_int_equal(check(list, path, &is_listed), SP_OK);
        assert_int_equal(is_listed, cases[i].is_it);
    }
    bool is_listed = false;
    snprintf(list, sizeof list, SUM_OF_ABC "  %s\n", path); /* from the root */
    assert_int_equal(check(list, path, &is_listed), SP_OK);
    assert_true(is_listed);
    /* The longest name counts. */
    assert_int_equal(
        check(SUM_OF_NOTHING "  abc.txt\n" SUM_OF_ABC "  sub/abc.txt\n", path, &is_listed), SP_OK);
    assert_int_equal(check(SUM_OF_ABC "  abc.txt\n" SUM_OF_ABC "  abc.txt\n", path, &is_listed),
                     SP_OK);
    assert_int_equal(check(SUM_OF_ABC "  abc.txt\n" SUM_OF_NOTHING "  abc.txt\n", path, &is_listed),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "two sums"));
}

static void path_from_the_working_folder_is_made_absolute(void **state) {
    char path[TEMP_PATH_SIZE], before[TEMP_PATH_SIZE];
    bool is_listed = false;
    assert_int_equal(mkdir(temp_path(path, dir, "sub"), 0700), 0);
    put(path, "sub/abc.txt", "abc");
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(temp_path(path, dir, "sub")), 0);
    const sp_status status = check(SUM_OF_ABC "  sub/abc.txt\n", ".//abc.txt", &is_listed);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, SP_OK);
    assert_true(is_listed);
}

static void escaped_names_are_read(void **state) {
    char path[TEMP_PATH_SIZE];
    bool is_listed = false;
    put(path, "a\nb\\c.txt", "abc");
    assert_int_equal(check("\\" SUM_OF_ABC "  a\\nb\\\\c.txt\n", path, &is_listed), SP_OK);
    assert_true(is_listed);
}

static void line_of_another_form_is_named(void **state) {
    static const char *const lines[] = {"abc.txt",
                                        SUM_OF_ABC,
                                        SUM_OF_ABC "  ",
                                        SUM_OF_ABC " abc.txt",
                                        "0" SUM_OF_ABC "  abc.txt",
                                        "900150983cd24fb0d6963f7d28e17f72  md5.txt",
                                        "SHA256 (abc.txt) = " SUM_OF_ABC,
                                        "\\" SUM_OF_ABC "  a\\xb"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char path[TEMP_PATH_SIZE], list[512];
        sp_checksums *checksums = NULL;
        snprintf(list, sizeof list, SUM_OF_ABC "  fine.txt\n\n%s\n", lines[i]);
        assert_int_equal(sp_checksums_open(&checksums, put(path, "SHA256SUMS", list)), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), "line 3"));
        assert_non_null(strstr(sp_message(), path));
    }
    char path[TEMP_PATH_SIZE];
    sp_checksums *checksums = NULL;
    assert_int_equal(sp_checksums_open(&checksums, put(path, "SHA256SUMS", "\n\n")), SP_BAD_DATA);
    assert_int_equal(sp_checksums_open(&checksums, temp_path(path, dir, "none")), SP_IO);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, create_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {WITH_FOLDER(sums_are_sha_256),
                                       WITH_FOLDER(another_sum_is_refused_by_name),
                                       WITH_FOLDER(name_is_the_end_of_the_path_at_a_folder),
                                       WITH_FOLDER(path_from_the_working_folder_is_made_absolute),
                                       WITH_FOLDER(escaped_names_are_read),
                                       WITH_FOLDER(line_of_another_form_is_named)};
    return cmocka_run_group_tests_name("checksums", tests, NULL, NULL);
}
