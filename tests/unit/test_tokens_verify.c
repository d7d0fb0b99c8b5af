#include "tests/check.h"
#include "tests/parts_corpus.h"
#include "tests/temp_folder.h"

#include "io/tokens_verify.h"

#include <stdlib.h>

#include <hdf5.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static sp_status verify(const char *name) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, name));
    const sp_status status = sp_tokens_verify(tokens);
    sp_tokens_close(tokens);
    return status;
}

/* Documents [begin, end) of the index, by a check of their own. */
static void add_pieces(sp_tokens_check *all, const sp_tokens *tokens, size_t begin, size_t end) {
    sp_tokens_check *piece = NULL;
    uint64_t sum[2];
    assert_int_equal(sp_tokens_check_open(&piece, tokens), SP_OK);
    assert_int_equal(sp_tokens_check_documents(piece, begin, end, NULL), SP_OK);
    sp_tokens_check_sum(piece, sum);
    sp_tokens_check_add(all, sum);
    sp_tokens_check_close(piece);
}

static void file_is_verified_in_pieces_in_any_order(void **state) {
    enum { N_DOCUMENTS = 50 };
    parts_write_plain(parts_plain, N_DOCUMENTS);
    for (uint64_t seed = 0; seed < 8; seed++) {
        const size_t middle = parts_mix(seed) % (N_DOCUMENTS + 1), twice = seed == 6,
                     lacks = seed == 7;
        sp_tokens *tokens = NULL;
        sp_tokens_check *all = NULL;
        assert_int_equal(sp_tokens_open(&tokens, parts_plain), SP_OK);
        assert_int_equal(sp_tokens_check_open(&all, tokens), SP_OK);
        add_pieces(all, tokens, middle, N_DOCUMENTS - lacks);
        add_pieces(all, tokens, 7, 7); /* none */
        assert_int_equal(sp_tokens_check_documents(all, 0, middle, NULL), SP_OK);
        if (twice) add_pieces(all, tokens, 2, 3);
        assert_int_equal(sp_tokens_check_finish(all), twice || lacks ? SP_BAD_DATA : SP_OK);
        sp_tokens_check_close(all);
        sp_tokens_close(tokens);
    }
}

static void first_segments_are_those_of_the_documents(void **state) {
    sp_tokens *tokens = NULL;
    size_t n_before = 0;
    parts_write_plain(parts_plain, 50);
    assert_int_equal(sp_tokens_open(&tokens, parts_plain), SP_OK);
    for (uint64_t d = 0; d <= 50; d++) {
        assert_int_equal(sp_tokens_first_segment(tokens, d), n_before);
        n_before += d < 50 ? parts_n_segments(d) : 0;
    }
    assert_int_equal(n_before, sp_tokens_n_segments(tokens));
    sp_tokens_close(tokens);
}

/* By HDF5 itself, so that all checksums are right: what readers cannot tell, digests do. */
static void set_value(const char *name, const char *dataset_name, hsize_t row, uint64_t add) {
    const hid_t file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, dataset_name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hid_t one = H5Screate(H5S_SCALAR);
    uint64_t value = 0;
    H5Sselect_elements(space, H5S_SELECT_SET, 1, &row);
    assert_true(H5Dread(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    value = value > 0 ? value - add : value + add;
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
}

static void verify_finds_every_changed_value(void **state) {
    static const char *const numbers[] = {"/segments/byte_begin", "/segments/byte_len",
                                          "/documents/hash",      "/streams/small/ids",
                                          "/streams/zebra/ids",   "/streams/ant/ids"};
    char part[TEMP_PATH_SIZE];
    temp_path(part, parts_dir, "corpus.parts/part-0000-" PARTS_TAG ".h5");
    parts_write_plain(parts_plain, 50);
    parts_write_index(&parts_in_two);
    assert_int_equal(verify(parts_plain), SP_OK);
    assert_int_equal(verify(parts_index), SP_OK);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        parts_write_plain(parts_plain, 50);
        parts_write_index(&parts_in_two);
        set_value(parts_plain, numbers[i], 5, 1);
        set_value(part, numbers[i], 5, 1);
        if (verify(parts_plain) != SP_BAD_DATA) fail_msg("'%s' of the plain file", numbers[i]);
        if (verify(parts_index) != SP_BAD_DATA) fail_msg("'%s' of a part", numbers[i]);
    }
}

static void verify_finds_flipped_bytes(void **state) {
    char part[TEMP_PATH_SIZE];
    size_t n_bytes = 0, n_refused = 0, n_tried = 0;
    parts_write_plain(parts_plain, 50);
    parts_write_index(&parts_in_two);
    char *data =
        temp_read(temp_path(part, parts_dir, "corpus.parts/part-0001-" PARTS_TAG ".h5"), &n_bytes);
    for (size_t at = 3; at < n_bytes; at += 61, n_tried++) {
        data[at] = (char)(data[at] ^ 0x10);
        temp_write(part, data, n_bytes);
        const sp_status status = verify(parts_index);
        assert_true(status == SP_OK || status == SP_BAD_DATA || status == SP_IO);
        if (status == SP_OK)
            parts_assert_same_reading(parts_plain, parts_index); /* nothing of it was hit */
        n_refused += status != SP_OK;
        data[at] = (char)(data[at] ^ 0x10);
    }
    assert_true(n_refused > 0);
    free(data);
}

int main(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, parts_set_up, parts_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(file_is_verified_in_pieces_in_any_order),
        TEST(first_segments_are_those_of_the_documents),
        TEST(verify_finds_every_changed_value),
        TEST(verify_finds_flipped_bytes),
    };
    return cmocka_run_group_tests_name("tokens_verify", tests, NULL, NULL);
}
