/* A group of an encoder's states: read back bit by bit, and refused when anything of it has changed. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/states_file.h"

#include <stdlib.h>

enum { N_ROWS = 3, D = 5, N_BYTES = 72 + N_ROWS * D * 4 };
static const char key[] = "0123456789abcdef0123456789abcdef";

static int set_up(void **state) {
    float rows[N_ROWS * D];
    if (temp_file_set_up(state, "group") != 0) return -1;
    const temp_file *file = *state;
    for (size_t i = 0; i < N_ROWS * D; i++) rows[i] = (float)i / 7;
    const sp_states_group group = {file->path, key, N_ROWS, D};
    return sp_states_write(&group, rows) == SP_OK ? 0 : -1;
}

static sp_status open_as(const temp_file *file, const char *wanted, size_t n_rows, size_t d) {
    const sp_states_group group = {file->path, wanted, n_rows, d};
    sp_mapping mapping = {0};
    const float *rows = NULL;
    const sp_status status = sp_states_open(&mapping, &rows, &group, true);
    if (status == SP_OK) {
        assert_int_equal(mapping.n_bytes, N_BYTES);
        for (size_t i = 0; i < N_ROWS * D; i++) assert_true(rows[i] == (float)i / 7);
    } else {
        assert_null(rows);
        assert_null(mapping.data);
    }
    sp_mapping_close(&mapping);
    return status;
}

static void what_is_written_is_read(void **state) {
    assert_int_equal(open_as(*state, key, N_ROWS, D), SP_OK);
}

static void other_states_are_refused(void **state) {
    static const char other[] = "0123456789abcdef0123456789abcdee";
    assert_int_equal(open_as(*state, other, N_ROWS, D), SP_BAD_DATA);
    assert_int_equal(open_as(*state, key, D, N_ROWS), SP_BAD_DATA); /* as many bytes */
    assert_int_equal(open_as(*state, key, N_ROWS + 1, D), SP_BAD_DATA);
    assert_int_equal(open_as(*state, key, SIZE_MAX / 2, D), SP_BAD_DATA);
}

static void file_cut_anywhere_is_refused(void **state) {
    const temp_file *file = *state;
    size_t n_bytes = 0;
    char *whole = temp_read(file->path, &n_bytes);
    assert_int_equal(n_bytes, N_BYTES);
    for (size_t n = 0; n < n_bytes; n++) {
        temp_write(file->path, whole, n);
        assert_int_equal(open_as(file, key, N_ROWS, D), SP_BAD_DATA);
    }
    free(whole);
}

static void any_changed_byte_is_refused(void **state) {
    const temp_file *file = *state;
    size_t n_bytes = 0;
    char *whole = temp_read(file->path, &n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        whole[i] ^= 0x10;
        temp_write(file->path, whole, n_bytes);
        assert_int_equal(open_as(file, key, N_ROWS, D), SP_BAD_DATA);
        whole[i] ^= 0x10;
    }
    free(whole);
}

static void no_file_is_no_data(void **state) {
    temp_file file = *(const temp_file *)*state;
    temp_path(file.path, file.dir, "nowhere");
    assert_int_equal(open_as(&file, key, N_ROWS, D), SP_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, set_up, temp_file_tear_down),
        cmocka_unit_test_setup_teardown(other_states_are_refused, set_up, temp_file_tear_down),
        cmocka_unit_test_setup_teardown(file_cut_anywhere_is_refused, set_up, temp_file_tear_down),
        cmocka_unit_test_setup_teardown(any_changed_byte_is_refused, set_up, temp_file_tear_down),
        cmocka_unit_test_setup_teardown(no_file_is_no_data, set_up, temp_file_tear_down),
    };
    return cmocka_run_group_tests_name("states_file", tests, NULL, NULL);
}
