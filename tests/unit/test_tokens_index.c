#include "tests/check.h"
#include "tests/parts_corpus.h"
#include "tests/temp_folder.h"

#include "io/hdf5_seal.h"
#include "io/tokens_file.h"

#include <stdlib.h>
#include <unistd.h>

#include <hdf5.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static void missing_part_is_named(void **state) {
    char part[TEMP_PATH_SIZE];
    parts_write_index(&parts_in_two);
    assert_int_equal(unlink(temp_path(part, parts_dir, "corpus.parts/part-0001-" PARTS_TAG ".h5")),
                     0);
    assert_int_equal(parts_read_all(parts_index), SP_IO);
    assert_non_null(strstr(sp_message(), part));
    assert_non_null(strstr(sp_message(), parts_index));
}

static void part_cut_anywhere_is_refused(void **state) {
    char part[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    parts_write_index(&parts_in_two);
    char *data =
        temp_read(temp_path(part, parts_dir, "corpus.parts/part-0001-" PARTS_TAG ".h5"), &n_bytes);
    for (size_t cut = 0; cut < n_bytes; cut += 211) {
        temp_write(part, data, cut);
        assert_int_equal(parts_read_all(parts_index), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), part));
    }
    free(data);
}

static void index_cut_anywhere_is_refused(void **state) {
    size_t n_bytes = 0;
    parts_write_index(&parts_in_two);
    char *data = temp_read(parts_index, &n_bytes);
    for (size_t cut = 0; cut < n_bytes; cut += cut < 100 ? 1 : 31) {
        temp_write(parts_index, data, cut);
        assert_int_equal(parts_read_all(parts_index), SP_BAD_DATA);
    }
    free(data);
}

/* Also in HDF5's global heap, whose mappings have no checksum of its own. */
static void index_flipped_anywhere_is_refused(void **state) {
    size_t n_bytes = 0;
    parts_write_index(&parts_in_two);
    char *data = temp_read(parts_index, &n_bytes);
    for (size_t at = 0; at < n_bytes; at += 1 + at % 7) {
        data[at] ^= (char)(1 << at % 8);
        temp_write(parts_index, data, n_bytes);
        assert_int_equal(parts_read_all(parts_index), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), parts_index));
        data[at] ^= (char)(1 << at % 8);
    }
    /* Nor is one without its seal. */
    temp_write(parts_index, data + SP_HDF5_SEAL_BYTES, n_bytes - SP_HDF5_SEAL_BYTES);
    assert_int_equal(parts_read_all(parts_index), SP_BAD_DATA);
    temp_write(parts_index, data, n_bytes);
    assert_int_equal(parts_read_all(parts_index), SP_OK);
    free(data);
}

static void part_of_another_run_is_refused(void **state) {
    char part[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    parts_split other = parts_in_two;
    other.bounds[1] = 19;
    parts_write_index(&parts_in_two);
    char *data =
        temp_read(temp_path(part, parts_dir, "corpus.parts/part-0001-" PARTS_TAG ".h5"), &n_bytes);
    parts_write_index(&other);
    temp_write(part, data, n_bytes);
    assert_int_equal(parts_read_all(parts_index), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), part));
    assert_non_null(strstr(sp_message(), "another run"));
    /* A whole token file is no part, and a part is not the whole. */
    char *whole = temp_read(parts_index, &n_bytes);
    temp_write(part, whole, n_bytes);
    assert_int_equal(parts_read_all(parts_index), SP_BAD_DATA);
    assert_int_equal(
        parts_read_all(temp_path(part, parts_dir, "corpus.parts/part-0000-" PARTS_TAG ".h5")),
        SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "one part"));
    free(whole);
    free(data);
}

/* Replaces /segments/doc of the index by a virtual dataset of other mappings. */
typedef struct mapping {
    const char *file, *dataset;
    hsize_t begin, n, part_begin, part_rows, stride;
} mapping;

static void falsify(const mapping *mappings, size_t n, hsize_t extent) {
    const hid_t file = H5Fopen(parts_index, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t whole = H5Screate_simple(1, &extent, NULL);
    for (size_t i = 0; i < n; i++) {
        const mapping *m = &mappings[i];
        const hid_t part = H5Screate_simple(1, &m->part_rows, NULL);
        H5Sselect_hyperslab(whole, H5S_SELECT_SET, &m->begin, NULL, &m->n, NULL);
        H5Sselect_hyperslab(part, H5S_SELECT_SET, &m->part_begin, m->stride ? &m->stride : NULL,
                            &m->n, NULL);
        assert_true(H5Pset_virtual(properties, whole, m->file, m->dataset, part) >= 0);
        H5Sclose(part);
    }
    H5Sselect_all(whole);
    assert_true(H5Ldelete(file, "/segments/doc", H5P_DEFAULT) >= 0);
    const hid_t dataset = H5Dcreate2(file, "/segments/doc", H5T_STD_U64LE, whole, H5P_DEFAULT,
                                     properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(whole);
    H5Pclose(properties);
    H5Fclose(file);
    assert_int_equal(sp_hdf5_seal(parts_index, parts_index), SP_OK);
}

static void falsified_mappings_are_refused(void **state) {
#define FIRST "corpus.parts/part-0000-" PARTS_TAG ".h5", "/segments/doc"
    size_t n_segments[3] = {0}; /* of each block */
    for (size_t b = 0; b < 3; b++)
        for (uint64_t d = parts_in_two.bounds[b]; d < parts_in_two.bounds[b + 1]; d++)
            n_segments[b] += parts_n_segments(d);
    const hsize_t n = n_segments[0] + n_segments[1] + n_segments[2];
    const hsize_t n_part = n_segments[0] + n_segments[2];
    const struct {
        mapping mappings[2];
        size_t n;
    } cases[] = {
        {{{FIRST, 0, n, 0, n, 0}}, 1},           /* beyond the part */
        {{{FIRST, 0, n_part, 0, n_part, 0}}, 1}, /* a gap at the end */
        {{{FIRST, 1, n - 1, 0, n, 0}}, 1},       /* at the begin */
        {{{FIRST, 0, n_part, 0, n_part, 0}, {FIRST, n_part, n - n_part, 0, n_part, 0}},
         2},                                                                 /* twice */
        {{{FIRST, 0, n_part, 0, n_part, 0}, {FIRST, 1, n - 1, 0, n, 0}}, 2}, /* overlap */
        {{{FIRST, 0, n, 0, 2 * n, 2}}, 1},                                   /* every other row */
        {{{FIRST, 0, n_part, 0, n_part, 0}, /* TORN: one row in two, the last in none */
          {"corpus.parts/part-0001-" PARTS_TAG ".h5", "/segments/doc", n_part - 1, n_segments[1], 0,
           n_segments[1], 0}},
         2},
        {{{"/etc/passwd", "/segments/doc", 0, n, 0, n, 0}}, 1},
        {{{"corpus.parts/../../x.h5", "/segments/doc", 0, n, 0, n, 0}}, 1},
        {{{"..", "/segments/doc", 0, n, 0, n, 0}}, 1},
        {{{"corpus.parts/part-0000-" PARTS_TAG ".h5", "/documents/hash", 0, n, 0, n, 0}}, 1},
    };
    enum { TORN = 6 }; /* what it makes of the values would be refused, too */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parts_write_index(&parts_in_two);
        falsify(cases[i].mappings, cases[i].n, n);
        const sp_status status = parts_read_all(parts_index);
        if (status == SP_OK) fail_msg("case %zu is not refused", i);
        if (strstr(sp_message(), parts_dir) == NULL ||
            (i == TORN && strstr(sp_message(), "in no part, or in two") == NULL))
            fail_msg("case %zu: %s", i, sp_message());
    }
    parts_write_index(&parts_in_two); /* and the helper is not what makes them fail */
    const mapping right[] = {
        {FIRST, 0, n_segments[0], 0, n_part, 0},
        {"corpus.parts/part-0001-" PARTS_TAG ".h5", "/segments/doc", n_segments[0], n_segments[1],
         0, n_segments[1], 0},
        {FIRST, n_segments[0] + n_segments[1], n_segments[2], n_segments[0], n_part, 0}};
    falsify(right, 3, n);
    assert_int_equal(parts_read_all(parts_index), SP_OK);
}

int main(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, parts_set_up, parts_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(missing_part_is_named),          TEST(part_cut_anywhere_is_refused),
        TEST(index_cut_anywhere_is_refused),  TEST(index_flipped_anywhere_is_refused),
        TEST(part_of_another_run_is_refused), TEST(falsified_mappings_are_refused),
    };
    return cmocka_run_group_tests_name("tokens_index", tests, NULL, NULL);
}
