#include "tests/check.h"

#include "io/mapping.h"
#include "tests/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_BYTES = 8 << 20 };

static int set_up(void **state) { return temp_file_set_up(state, "a.bin"); }

static void write_pattern(const char *path) {
    char *bytes = malloc(N_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < N_BYTES; i++) bytes[i] = (char)(i * 31 >> 4);
    temp_write(path, bytes, N_BYTES);
    free(bytes);
}

static void assert_pattern(const sp_mapping *mapping) {
    for (size_t i = 0; i < N_BYTES; i++)
        if (mapping->data[i] != (unsigned char)(i * 31 >> 4)) fail_msg("byte %zu is another", i);
}

/* Pages of files that are resident in this process. */
static size_t resident_bytes(void) {
    size_t size, resident, shared;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu %zu", &size, &resident, &shared), 3);
    fclose(file);
    return shared * 4096;
}

static void pages_given_back_are_not_resident_until_they_are_read_again(void **state) {
    const temp_file *at = *state;
    sp_mapping mapping = {0};
    write_pattern(at->path);
    assert_int_equal(sp_mapping_open(&mapping, at->path), SP_OK);
    const size_t before = resident_bytes();
    assert_pattern(&mapping);
    assert_true(resident_bytes() >= before + N_BYTES / 2);
    sp_mapping_give_back(&mapping);
    assert_true(resident_bytes() < before + N_BYTES / 2);
    assert_pattern(&mapping);
    sp_mapping_close(&mapping);
    sp_mapping_give_back(&mapping); /* an empty one is fine */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_given_back_are_not_resident_until_they_are_read_again,
                                        set_up, temp_file_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
