#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/slots_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hdf5.h>

/* HDF5 1.10 loses some memory itself where it refuses a damaged root group. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

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

/* Four documents; the second has no text, and the third the same id as the first. All values are
   the same in f16, bf16 and f32. */
enum { D = 3, N_SEGMENTS = 4, N_SLOTS = 6 };
static const char *const ids[] = {"a.jsonl:1", "empty", "a.jsonl:1", "\u20acuro"};
static const float values[N_SLOTS * D] = {0, 1, -1,  0.5F,  2, -2, 1024, 3, -0.0F,
                                          8, 7, -16, 0.25F, 5, 4,  6,    9, 10};
static const sp_slots_segment segments[N_SEGMENTS] = {
    {0, 0, 100, 12, 0, 3}, {0, 100, 7, 1, 3, 1}, {2, 0, 5, 2, 4, 0}, {3, 0, 9, 6, 4, 2}};

static sp_status append(sp_slots_writer *writer, sp_slots_dtype dtype, const sp_slots_segment *s,
                        const float *slots, size_t d) {
    char packed[N_SLOTS * D * sizeof(float)];
    float scales[N_SLOTS];
    SP_TRY(sp_slots_pack(dtype, packed, scales, slots, s->n_slots, d));
    return sp_slots_writer_segment(writer, &(sp_slots_written){.byte_begin = s->byte_begin,
                                                               .byte_len = s->byte_len,
                                                               .n_tokens = s->n_tokens,
                                                               .n_slots = s->n_slots,
                                                               .values = packed,
                                                               .scales = scales});
}

static sp_status write_file(sp_slots_dtype dtype) {
    const sp_slots_info info = {.space = SP_SLOTS_MEMORY,
                                .dtype = dtype,
                                .d = D,
                                .ratio = 4,
                                .compressor_digest = "0123456789abcdef"};
    sp_slots_writer *writer = NULL;
    SP_TRY(sp_slots_writer_open(&writer, path, &info));
    sp_status status = SP_OK;
    for (uint64_t d = 0; d < 4 && status == SP_OK; d++) {
        status = sp_slots_writer_document(writer, ids[d], 100 + d);
        for (size_t i = 0; i < N_SEGMENTS && status == SP_OK; i++) {
            const sp_slots_segment *s = &segments[i];
            if (s->doc == d) status = append(writer, dtype, s, values + s->slot_begin * D, D);
        }
    }
    if (status == SP_OK) return sp_slots_writer_commit(writer);
    sp_slots_writer_abort(writer);
    return status;
}

/* Reads all there is to read. */
static sp_status read_file(const char *name) {
    sp_slots *slots = NULL;
    size_t begin = 0, end = 0;
    SP_TRY(sp_slots_open(&slots, name));
    const size_t n_slots = sp_slots_n_slots(slots), d = sp_slots_get_info(slots)->d;
    float *read = calloc(n_slots * d + 1, sizeof *read);
    sp_status status = sp_slots_read(slots, 0, n_slots, read);
    if (status == SP_OK) status = sp_slots_find_document(slots, "empty", &begin, &end);
    free(read);
    sp_slots_close(slots);
    return status;
}

static void written_file_gives_its_values(void **state) {
    for (int dtype = SP_SLOTS_F16; dtype <= SP_SLOTS_BF16; dtype++) {
        sp_slots *slots = NULL;
        assert_int_equal(write_file((sp_slots_dtype)dtype), SP_OK);
        assert_int_equal(temp_count(dir), 1);
        assert_int_equal(sp_slots_open(&slots, path), SP_OK);
        const sp_slots_info *info = sp_slots_get_info(slots);
        assert_true(info->space == SP_SLOTS_MEMORY && (int)info->dtype == dtype);
        assert_true(info->d == D && info->ratio == 4);
        assert_string_equal(info->compressor_digest, "0123456789abcdef");
        assert_int_equal(sp_slots_n_documents(slots), 4);
        assert_int_equal(sp_slots_n_segments(slots), N_SEGMENTS);
        assert_int_equal(sp_slots_n_slots(slots), N_SLOTS);
        for (size_t i = 0; i < N_SEGMENTS; i++) {
            sp_slots_segment segment;
            assert_int_equal(sp_slots_get_segment(slots, i, &segment), SP_OK);
            assert_true(segment.doc == segments[i].doc);
            assert_true(segment.byte_begin == segments[i].byte_begin);
            assert_true(segment.byte_len == segments[i].byte_len);
            assert_true(segment.n_tokens == segments[i].n_tokens);
            assert_true(segment.slot_begin == segments[i].slot_begin);
            assert_true(segment.n_slots == segments[i].n_slots);
        }
        for (size_t begin = 0; begin <= N_SLOTS; begin++) {
            for (size_t n = 0; begin + n <= N_SLOTS; n++) {
                float read[N_SLOTS * D + 1] = {0};
                assert_int_equal(sp_slots_read(slots, begin, n, read), SP_OK);
                assert_memory_equal(read, values + begin * D, n * D * sizeof *read);
            }
        }
        sp_slots_close(slots);
    }
}

static void document_is_found_by_its_id(void **state) {
    static const struct {
        const char *id;
        size_t begin, end;
    } cases[] = {{"a.jsonl:1", 0, 2}, {"empty", 2, 2}, {"\u20acuro", 3, 4}};
    sp_slots *slots = NULL;
    size_t begin = 0, end = 0;
    assert_int_equal(write_file(SP_SLOTS_F16), SP_OK);
    assert_int_equal(sp_slots_open(&slots, path), SP_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(sp_slots_find_document(slots, cases[i].id, &begin, &end), SP_OK);
        assert_int_equal(begin, cases[i].begin);
        assert_int_equal(end, cases[i].end);
    }
    static const char *const absent[] = {"", "a.jsonl:", "a.jsonl:11", "an id beyond all lengths"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        assert_int_equal(sp_slots_find_document(slots, absent[i], &begin, &end), SP_USAGE);
        assert_non_null(strstr(sp_message(), path));
    }
    char *id = NULL;
    assert_int_equal(sp_slots_document_id(slots, 3, &id), SP_OK);
    assert_string_equal(id, ids[3]);
    free(id);
    sp_slots_close(slots);
}

static void values_that_do_not_fit_are_refused(void **state) {
    static const struct {
        sp_slots_dtype dtype;
        float value;
        sp_status status;
    } cases[] = {{SP_SLOTS_F16, 65504, SP_OK},         {SP_SLOTS_F16, 65520, SP_NUMERIC},
                 {SP_SLOTS_F16, -1e6F, SP_NUMERIC},    {SP_SLOTS_BF16, 1e30F, SP_OK},
                 {SP_SLOTS_BF16, NAN, SP_NUMERIC},     {SP_SLOTS_F16, NAN, SP_NUMERIC},
                 {SP_SLOTS_BF16, INFINITY, SP_NUMERIC}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint16_t packed;
        assert_int_equal(sp_slots_pack(cases[i].dtype, &packed, NULL, &cases[i].value, 1, 1),
                         cases[i].status);
    }
}

static void file_cut_anywhere_is_refused(void **state) {
    size_t n_bytes = 0;
    assert_int_equal(write_file(SP_SLOTS_F16), SP_OK);
    char *data = temp_read(path, &n_bytes);
    for (size_t cut = 0; cut < n_bytes; cut += cut < 600 ? 7 : 997) {
        temp_write(path, data, cut);
        assert_int_equal(read_file(path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), path));
    }
    free(data);
}

static void flipped_byte_is_refused_or_without_effect(void **state) {
    size_t n_bytes = 0;
    assert_int_equal(write_file(SP_SLOTS_BF16), SP_OK);
    char *data = temp_read(path, &n_bytes);
    for (size_t at = 0; at < n_bytes; at += at < 4096 ? 5 : 499) {
        data[at] = (char)(data[at] ^ 0x5A);
        temp_write(path, data, n_bytes);
        const sp_status status = read_file(path);
        assert_true(status == SP_OK || status == SP_BAD_DATA || status == SP_IO);
        data[at] = (char)(data[at] ^ 0x5A);
    }
    free(data);
}

/* ---- falsified by HDF5 itself, so that all checksums are right ---- */

static void set_u64(hid_t file, const char *name, uint64_t value) {
    const hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0);
    H5Aclose(attribute);
}

static void set_value(hid_t file, const char *name, hsize_t row, uint64_t value) {
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hid_t one = H5Screate(H5S_SCALAR);
    H5Sselect_elements(space, H5S_SELECT_SET, 1, &row);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void set_extent(hid_t file, const char *name, hsize_t rows, hsize_t columns) {
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const hsize_t extent[] = {rows, columns};
    assert_true(H5Dset_extent(dataset, extent) >= 0);
    H5Dclose(dataset);
}

static void set_ratio(hid_t file, double value) {
    const hid_t attribute = H5Aopen(file, "ratio", H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(attribute);
}

static void version_to_come(hid_t f) { set_u64(f, "format_version", 9); }
static void other_width(hid_t f) { set_u64(f, "d", D + 1); }
static void no_width(hid_t f) { set_u64(f, "d", 0); }
static void absurd_width(hid_t f) { set_u64(f, "d", 1ULL << 62); }
static void no_ratio(hid_t f) { set_ratio(f, 0); }
static void ratio_no_number(hid_t f) { set_ratio(f, NAN); }
static void no_space(hid_t f) { H5Adelete(f, "space"); }
static void no_values(hid_t f) { H5Ldelete(f, "/slots/values", H5P_DEFAULT); }
static void absurd_slots(hid_t f) { set_extent(f, "/slots/values", 1ULL << 60, D); }
static void fewer_slots(hid_t f) { set_extent(f, "/slots/values", 3, D); }
static void fewer_segments(hid_t f) { set_extent(f, "/segments/tokens", 3, 0); }
static void absurd_segments(hid_t f) { set_extent(f, "/segments/doc", 1ULL << 60, 0); }
static void fewer_ids(hid_t f) { set_extent(f, "/documents/id", 3, 0); }
static void document_falls(hid_t f) { set_value(f, "/segments/doc", 0, 1); }
static void document_beyond(hid_t f) { set_value(f, "/segments/doc", 3, 4); }
static void slots_fall(hid_t f) { set_value(f, "/segments/slot_begin", 2, 2); }
static void slots_beyond(hid_t f) { set_value(f, "/segments/slot_begin", 3, 7); }
static void slots_not_from_0(hid_t f) { set_value(f, "/segments/slot_begin", 0, 1); }
static void range_wraps(hid_t f) { set_value(f, "/segments/byte_begin", 3, UINT64_MAX); }

static void infinite_value(hid_t file) {
    const hid_t dataset = H5Dopen2(file, "/slots/values", H5P_DEFAULT);
    float wrong[N_SLOTS * D] = {[7] = INFINITY};
    assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, wrong) >= 0);
    H5Dclose(dataset);
}

static void falsified_file_is_refused(void **state) {
    void (*const falsify[])(hid_t file) = {
        version_to_come, other_width,  no_width,         absurd_width,   no_ratio,
        ratio_no_number, no_space,     no_values,        absurd_slots,   fewer_slots,
        fewer_segments,  fewer_ids,    absurd_segments,  document_falls, document_beyond,
        slots_fall,      slots_beyond, slots_not_from_0, range_wraps,    infinite_value};
    for (size_t i = 0; i < sizeof falsify / sizeof falsify[0]; i++) {
        assert_int_equal(write_file(SP_SLOTS_F16), SP_OK);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(file >= 0);
        falsify[i](file);
        H5Fclose(file);
        if (read_file(path) != SP_BAD_DATA) fail_msg("case %zu is not refused", i);
        if (strstr(sp_message(), path) == NULL) fail_msg("case %zu: '%s'", i, sp_message());
    }
}

static void full_disk_leaves_nothing(void **state) {
    size_t n_bytes = 0;
    assert_int_equal(write_file(SP_SLOTS_F16), SP_OK);
    free(temp_read(path, &n_bytes));
    unlink(path);
    for (size_t limit = 0; limit < n_bytes; limit += n_bytes / 11) {
        temp_limit_files(limit);
        const sp_status status = write_file(SP_SLOTS_F16);
        temp_limit_files(UINT64_MAX);
        assert_int_equal(status, SP_IO);
        assert_int_equal(temp_count(dir), 0);
    }
}

static void description_has_counts(void **state) {
    json_t *description = NULL;
    assert_int_equal(write_file(SP_SLOTS_F16), SP_OK);
    assert_int_equal(sp_slots_describe(&description, path), SP_OK);
    assert_int_equal(json_integer_value(json_object_get(description, "slots")), N_SLOTS);
    assert_int_equal(json_integer_value(json_object_get(description, "documents")), 4);
    assert_string_equal(json_string_value(json_object_get(description, "space")), "memory");
    assert_string_equal(json_string_value(json_object_get(description, "dtype")), "f16");
    json_decref(description);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_file_gives_its_values, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(document_is_found_by_its_id, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(values_that_do_not_fit_are_refused, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(file_cut_anywhere_is_refused, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(flipped_byte_is_refused_or_without_effect, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(falsified_file_is_refused, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(full_disk_leaves_nothing, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(description_has_counts, create_folder, remove_folder)};
    return cmocka_run_group_tests_name("slots_file", tests, NULL, NULL);
}
