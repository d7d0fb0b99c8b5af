/* Documents by id in a slot file of many: found without reading all ids, and what a damaged index says
   is not believed. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/slots_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hdf5.h>

enum { N_DOCUMENTS = 100000, N_DAMAGED = 3000, ID_SIZE = 48 };

static char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(path, dir, "slots.h5");
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

/* Ids that neither sort as they are numbered nor pack to nothing. Of every thousand two are the same. */
static void id_of(char id[ID_SIZE], size_t document) {
    const size_t named = document % 1000 == 999 ? document - 998 : document;
    (void)snprintf(id, ID_SIZE, "shard-%04zx/%016jx", named * 40503 % 4096,
                   (uintmax_t)(named * 0x9E3779B97F4A7C15ULL));
}

/* One segment of one slot in every document. */
static void write_file(size_t n_documents) {
    const sp_slots_info info = {.space = SP_SLOTS_MEMORY,
                                .dtype = SP_SLOTS_F16,
                                .d = 1,
                                .ratio = 4,
                                .compressor_digest = "abc"};
    const uint16_t one = 0x3C00;
    sp_slots_writer *writer = NULL;
    assert_int_equal(sp_slots_writer_open(&writer, path, &info), SP_OK);
    for (size_t i = 0; i < n_documents; i++) {
        char id[ID_SIZE];
        id_of(id, i);
        assert_int_equal(sp_slots_writer_document(writer, id, i), SP_OK);
        const sp_slots_written segment = {
            .byte_len = 1, .n_tokens = 1, .n_slots = 1, .values = &one};
        assert_int_equal(sp_slots_writer_segment(writer, &segment), SP_OK);
    }
    assert_int_equal(sp_slots_writer_commit(writer), SP_OK);
}

/* Bytes that this process has read by system calls. */
static size_t bytes_read(void) {
    size_t n = 0;
    FILE *file = fopen("/proc/self/io", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "rchar: %zu", &n), 1);
    assert_int_equal(fclose(file), 0);
    return n;
}

static void a_lookup_reads_little_of_a_large_file(void **state) {
    /* A chunk of the index, or two where a guess fails, and one of ids that are packed; all ids are
       some 2,000,000. */
    enum { MOST_BYTES = 65536 };
    size_t most = 0;
    write_file(N_DOCUMENTS);
    for (size_t i = 0; i < 25; i++) {
        const size_t document = i * 7919 * 13 % N_DOCUMENTS;
        char id[ID_SIZE];
        size_t begin = 0, end = 0;
        sp_slots *slots = NULL;
        id_of(id, document);
        assert_int_equal(sp_slots_open(&slots, path), SP_OK);
        const size_t before = bytes_read();
        assert_int_equal(sp_slots_find_document(slots, id, &begin, &end), SP_OK);
        const size_t read = bytes_read() - before;
        assert_int_equal(begin, document % 1000 == 999 ? document - 998 : document);
        assert_int_equal(end, begin + 1);
        if (read > most) most = read;
        sp_slots_close(slots);
    }
    if (most > MOST_BYTES) fail_msg("a look-up reads %zu bytes", most);
}

static void every_document_is_found_and_no_other(void **state) {
    sp_slots *slots = NULL;
    write_file(N_DAMAGED);
    assert_int_equal(sp_slots_open(&slots, path), SP_OK);
    for (size_t i = 0; i < N_DAMAGED; i++) {
        char id[ID_SIZE];
        size_t found = 0;
        id_of(id, i);
        assert_int_equal(sp_slots_find_id(slots, id, &found), SP_OK);
        assert_int_equal(found, i % 1000 == 999 ? i - 998 : i);
        id[strlen(id) - 1] = '!';
        assert_int_equal(sp_slots_find_id(slots, id, &found), SP_OK);
        assert_int_equal(found, N_DAMAGED);
    }
    assert_int_equal(sp_slots_verify(slots), SP_OK);
    sp_slots_close(slots);
}

/* ---- damage, by HDF5 itself, so that all checksums are right ---- */

typedef struct row {
    uint64_t hash, document;
} row;

static row *read_rows(hid_t file, hid_t *dataset) {
    row *rows = calloc(N_DAMAGED, sizeof *rows);
    assert_non_null(rows);
    *dataset = H5Dopen2(file, "/documents/by_id", H5P_DEFAULT);
    assert_true(H5Dread(*dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
    return rows;
}

static void swap_documents(row *rows) {
    for (size_t i = 0; i + 1 < N_DAMAGED; i += 2) {
        const uint64_t kept = rows[i].document;
        rows[i].document = rows[i + 1].document;
        rows[i + 1].document = kept;
    }
}
static void lead_beyond(row *rows) {
    for (size_t i = 0; i < N_DAMAGED; i++) rows[i].document += N_DAMAGED;
}
static void fall(row *rows) {
    for (size_t i = 0; i < N_DAMAGED / 2; i++) {
        const row kept = rows[i];
        rows[i] = rows[N_DAMAGED - 1 - i];
        rows[N_DAMAGED - 1 - i] = kept;
    }
}
static void swap_chunks(row *rows) {
    for (size_t i = 0; i < 1024; i++) {
        const row kept = rows[i];
        rows[i] = rows[1024 + i];
        rows[1024 + i] = kept;
    }
}
static void other_hashes(row *rows) {
    for (size_t i = 0; i < N_DAMAGED; i++) rows[i].hash ^= 1;
}

static sp_status find_all(size_t *n_missed) {
    sp_slots *slots = NULL;
    sp_status status = SP_OK;
    *n_missed = 0;
    SP_TRY(sp_slots_open(&slots, path));
    for (size_t i = 0; status == SP_OK && i < N_DAMAGED; i++) {
        char id[ID_SIZE];
        size_t found = 0;
        id_of(id, i);
        status = sp_slots_find_id(slots, id, &found);
        if (status == SP_OK && found == N_DAMAGED) ++*n_missed;
        if (status == SP_OK && found < N_DAMAGED)
            assert_int_equal(found, i % 1000 == 999 ? i - 998 : i);
    }
    sp_slots_close(slots);
    return status;
}

static sp_status verify(void) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, path));
    const sp_status status = sp_slots_verify(slots);
    sp_slots_close(slots);
    return status;
}

static void a_damaged_index_is_refused(void **state) {
    static void (*const cases[])(row * rows) = {swap_documents, lead_beyond, fall, swap_chunks,
                                                other_hashes};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n_missed = 0;
        hid_t dataset = H5I_INVALID_HID;
        write_file(N_DAMAGED);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        row *rows = read_rows(file, &dataset);
        cases[i](rows);
        assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
        free(rows);
        H5Dclose(dataset);
        H5Fclose(file);
        if (find_all(&n_missed) != SP_BAD_DATA) fail_msg("case %zu is not refused", i);
        assert_non_null(strstr(sp_message(), "/documents/by_id"));
        if (verify() != SP_BAD_DATA) fail_msg("case %zu is not found by verify", i);
        assert_non_null(strstr(sp_message(), path));
    }
}

static void an_index_of_other_extents_is_refused(void **state) {
    static const hsize_t extents[][2] = {{N_DAMAGED - 1, 2}, {N_DAMAGED, 3}, {0, 2}};
    for (size_t i = 0; i < sizeof extents / sizeof extents[0]; i++) {
        size_t n_missed = 0;
        write_file(N_DAMAGED);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(H5Ldelete(file, "/documents/by_id", H5P_DEFAULT) >= 0);
        const hid_t space = H5Screate_simple(2, extents[i], NULL);
        const hid_t dataset = H5Dcreate2(file, "/documents/by_id", H5T_STD_U64LE, space,
                                         H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(dataset >= 0);
        H5Dclose(dataset);
        H5Sclose(space);
        H5Fclose(file);
        if (find_all(&n_missed) != SP_BAD_DATA) fail_msg("case %zu is not refused", i);
    }
}

static void a_file_without_an_index_is_searched(void **state) {
    size_t n_missed = 0;
    write_file(N_DAMAGED);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, "/documents/by_id", H5P_DEFAULT) >= 0);
    H5Fclose(file);
    assert_int_equal(find_all(&n_missed), SP_OK);
    assert_int_equal(n_missed, 0);
    assert_int_equal(verify(), SP_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lookup_reads_little_of_a_large_file, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(every_document_is_found_and_no_other, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_damaged_index_is_refused, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_index_of_other_extents_is_refused, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_without_an_index_is_searched, create_folder,
                                        remove_folder)};
    return cmocka_run_group_tests_name("slots_lookup", tests, NULL, NULL);
}
