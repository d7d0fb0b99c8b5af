#include "tests/check.h"

#include "io/npy.h"
#include "tests/temp_folder.h"

#include <stdlib.h>

static int set_up(void **state) { return temp_file_set_up(state, "a.npy"); }

/* The bytes that numpy.save() writes for float32 [[1, 2, 3], [4, 5, 6]]. */
static void matrix_is_written_as_numpy_writes_it(void **state) {
    const temp_file *at = *state;
    static const float values[] = {1, 2, 3, 4, 5, 6};
    static const char head[] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, "
                               "'shape': (2, 3), }";
    assert_int_equal(sp_npy_write(at->path, values, 2, 3), SP_OK);
    size_t n_bytes = 0;
    char *bytes = temp_read(at->path, &n_bytes);
    assert_int_equal(n_bytes, 128 + sizeof values);
    assert_memory_equal(bytes, head, sizeof head - 1);
    for (size_t i = sizeof head - 1; i < 127; i++) assert_int_equal(bytes[i], ' ');
    assert_int_equal(bytes[127], '\n');
    assert_memory_equal(bytes + 128, values, sizeof values);
    free(bytes);
}

static void data_begin_aligned_for_any_shape(void **state) {
    const temp_file *at = *state;
    for (size_t n_columns = 0; n_columns < 100000; n_columns = n_columns * 10 + 1) {
        assert_int_equal(sp_npy_write(at->path, NULL, 0, n_columns), SP_OK);
        size_t n_bytes = 0;
        char *bytes = temp_read(at->path, &n_bytes);
        assert_int_equal(n_bytes % 64, 0);
        assert_int_equal(bytes[n_bytes - 1], '\n');
        assert_int_equal((unsigned char)bytes[8] + 256 * bytes[9] + 10, n_bytes);
        free(bytes);
    }
}

static void failed_write_leaves_nothing(void **state) {
    const temp_file *at = *state;
    static const float values[64] = {0};
    char missing[TEMP_PATH_SIZE];
    assert_int_equal(sp_npy_write(temp_path(missing, at->dir, "none/a"), values, 8, 8), SP_IO);
    temp_limit_files(200);
    assert_int_equal(sp_npy_write(at->path, values, 8, 8), SP_IO);
    temp_limit_files(UINT64_MAX);
    assert_int_equal(temp_count(at->dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matrix_is_written_as_numpy_writes_it, set_up,
                                        temp_file_tear_down),
        cmocka_unit_test_setup_teardown(data_begin_aligned_for_any_shape, set_up,
                                        temp_file_tear_down),
        cmocka_unit_test_setup_teardown(failed_write_leaves_nothing, set_up, temp_file_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
