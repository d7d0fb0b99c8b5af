#include "tests/check.h"

#include "io/safetensors.h"
#include "tests/temp_folder.h"
#include "tests/values.h"

#include <stdio.h>
#include <stdlib.h>

static int set_up(void **state) { return temp_file_set_up(state, "a.safetensors"); }

/* A file whose tensors are left out of view again: what reading it says. */
static sp_status try_read(const char *path, size_t *n_tensors, size_t *n_left_out) {
    sp_mapping mapping = {0};
    sp_tensor_table tensors = {0};
    *n_left_out = 0;
    assert_int_equal(sp_mapping_open(&mapping, path), SP_OK);
    sp_status status = sp_safetensors_read(&tensors, n_left_out, &mapping, path);
    if (status == SP_OK) status = sp_tensor_table_sort(&tensors);
    *n_tensors = tensors.n_entries;
    sp_tensor_table_free(&tensors);
    sp_mapping_close(&mapping);
    return status;
}

/* Writes a file of this header and 24 bytes of data. */
static size_t write_image(const char *path, const char *header, uint64_t n_header) {
    enum { DATA = 24 };
    unsigned char bytes[1024] = {0};
    const size_t len = strlen(header);
    assert_true(8 + len + DATA <= sizeof bytes);
    memcpy(bytes, &n_header, 8);
    memcpy(bytes + 8, header, len);
    temp_write(path, bytes, 8 + len + DATA);
    return 8 + len + DATA;
}

static const char *const valid =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]},"
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}  ";

static void file_by_another_writer_gives_its_tensors(void **state) {
    static const char *const path =
        "tests/fixtures/model_files/llama/model-00002-of-00002.safetensors";
    sp_mapping mapping = {0};
    sp_tensor_table tensors = {0};
    size_t n_left_out = 0;
    assert_int_equal(sp_mapping_open(&mapping, path), SP_OK);
    assert_int_equal(sp_safetensors_read(&tensors, &n_left_out, &mapping, path), SP_OK);
    assert_int_equal(sp_tensor_table_sort(&tensors), SP_OK);
    assert_int_equal(n_left_out, 1); /* position_ids, of I64 */
    const sp_tensor *tensor =
        sp_tensor_table_find(&tensors, "model.layers.0.self_attn.k_proj.weight");
    assert_non_null(tensor);
    assert_true(tensor->n_dims == 2 && tensor->shape[0] == 12 && tensor->shape[1] == 8);
    assert_null(sp_tensor_table_find(&tensors, "model.position_ids"));
    sp_tensor_table_free(&tensors);
    sp_mapping_close(&mapping);
}

static void file_cut_anywhere_is_refused(void **state) {
    const temp_file *at = *state;
    size_t n_tensors = 0, n_left_out = 0, n_bytes = write_image(at->path, valid, strlen(valid));
    assert_int_equal(try_read(at->path, &n_tensors, &n_left_out), SP_OK);
    assert_int_equal(n_tensors, 2);
    char *bytes = temp_read(at->path, &n_bytes);
    while (n_bytes-- > 0) {
        temp_write(at->path, bytes, n_bytes);
        assert_int_equal(try_read(at->path, &n_tensors, &n_left_out), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), at->path));
    }
    free(bytes);
}

static void false_header_length_is_refused(void **state) {
    const temp_file *at = *state;
    const size_t len = strlen(valid);
    const uint64_t bad[] = {0,          1,        len - 4,        len + 1,    len + 24,  len + 25,
                            100000001U, 1U << 31, UINT64_MAX - 7, UINT64_MAX, 1ULL << 63};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t n_tensors = 0, n_left_out = 0;
        write_image(at->path, valid, bad[i]);
        assert_int_equal(try_read(at->path, &n_tensors, &n_left_out), SP_BAD_DATA);
        assert_int_equal(n_tensors, 0);
    }
}

#define TENSOR(dtype, shape, offsets) \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void header_that_contradicts_the_file_or_itself_is_refused(void **state) {
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"x\":1}",
        "{\"x\":{}}",
        TENSOR("F33", "[6]", "[0,24]"),
        TENSOR("", "[6]", "[0,24]"),
        TENSOR("Q4_1", "[6]", "[0,24]"), /* ours, but not this format's */
        TENSOR("F32", "6", "[0,24]"),
        TENSOR("F32", "[-6]", "[0,24]"),
        TENSOR("F32", "[6.0]", "[0,24]"),
        TENSOR("F32", "[5]", "[0,24]"),
        TENSOR("F32", "[7]", "[0,24]"),
        TENSOR("F32", "[4611686018427387910]", "[0,24]"), /* its bytes wrap to 24 */
        TENSOR("F32", "[4294967296,4294967296]", "[0,24]"),
        TENSOR("F32", "[9223372036854775807,9223372036854775807,2]", "[0,24]"),
        TENSOR("F32", "[99999999999999999999]", "[0,24]"),
        TENSOR("F32", "[6]", "[24,0]"),
        TENSOR("F32", "[6]", "[0,25]"),
        TENSOR("F32", "[6]", "[1,25]"),
        TENSOR("F32", "[6]", "[-24,0]"),
        TENSOR("F32", "[6]", "[9223372036854775783,9223372036854775807]"),
        TENSOR("F32", "[6]", "[0]"),
        TENSOR("F32", "[6]", "[0,24,48]"),
        TENSOR("F32", "[5]", "[0,20]"), /* leaves the end */
        TENSOR("F32", "[5]", "[4,24]"), /* leaves the beginning */
        TENSOR("F4", "[7]", "[0,3]"),   /* half a byte too much */
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[12,24]}}", /* twice */
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
        "\"y\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[8,24]}}", /* overlap */
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]},"
        "\"y\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", /* one in two */
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[20,24]}}", /* a gap */
        "{\"x\\u0000y\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}",
    };
    const temp_file *at = *state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t n_tensors = 0, n_left_out = 0;
        write_image(at->path, bad[i], strlen(bad[i]));
        if (try_read(at->path, &n_tensors, &n_left_out) != SP_BAD_DATA)
            fail_msg("not refused: %s", bad[i]);
    }
}

static void shapes_of_any_rank_and_size_are_read(void **state) {
    static const struct {
        const char *header;
        size_t n_tensors, n_left_out;
    } good[] = {
        {TENSOR("F32", "[1,2,3,1]", "[0,24]"), 1, 0},
        {TENSOR("F32", "[1,2,1,3,1]", "[0,24]"), 0, 1}, /* more dimensions than sp_tensor has */
        {TENSOR("I64", "[3]", "[0,24]"), 0, 1},
        {TENSOR("F4", "[48]", "[0,24]"), 0, 1},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
         "\"y\":{\"dtype\":\"F16\",\"shape\":[0,9],\"data_offsets\":[4,4]},"
         "\"z\":{\"dtype\":\"F16\",\"shape\":[10],\"data_offsets\":[4,24]}}",
         3, 0},
    };
    const temp_file *at = *state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        size_t n_tensors = 0, n_left_out = 0;
        write_image(at->path, good[i].header, strlen(good[i].header));
        assert_int_equal(try_read(at->path, &n_tensors, &n_left_out), SP_OK);
        assert_int_equal(n_tensors, good[i].n_tensors);
        assert_int_equal(n_left_out, good[i].n_left_out);
    }
}

enum { N_ENTRIES = 4 };
static float values[16];

/* In an order that is not the names'. */
static void make_entries(sp_safetensors_entry entries[N_ENTRIES]) {
    fill_values(values, 16, 3);
    entries[0] = (sp_safetensors_entry){"norm.weight", 1, {5}, values, SP_F32};
    entries[1] = (sp_safetensors_entry){"b", 3, {1, 2, 3}, values + 5, SP_F32};
    entries[2] = (sp_safetensors_entry){"empty", 2, {0, 7}, NULL, SP_F32};
    entries[3] = (sp_safetensors_entry){"a.\xc3\xa9", 0, {0}, values + 11, SP_F32};
}

static void written_file_reads_back_with_aligned_values(void **state) {
    const temp_file *at = *state;
    sp_safetensors_entry entries[N_ENTRIES];
    sp_mapping mapping = {0};
    sp_tensor_table tensors = {0};
    size_t n_left_out = 0;
    make_entries(entries);
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, NULL), SP_OK);
    assert_int_equal(temp_count(at->dir), 1);
    assert_int_equal(sp_mapping_open(&mapping, at->path), SP_OK);
    assert_int_equal(sp_safetensors_read(&tensors, &n_left_out, &mapping, at->path), SP_OK);
    assert_int_equal(sp_tensor_table_sort(&tensors), SP_OK);
    assert_int_equal(tensors.n_entries, N_ENTRIES);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        const sp_tensor *tensor = sp_tensor_table_find(&tensors, entries[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dtype, SP_F32);
        assert_int_equal(tensor->n_dims, entries[i].n_dims);
        assert_memory_equal(tensor->shape, entries[i].shape, sizeof tensor->shape);
        assert_int_equal((uintptr_t)tensor->data % sizeof(float), 0);
        const size_t n = sp_tensor_n_values(tensor);
        if (n > 0) assert_memory_equal(tensor->data, entries[i].data, n * sizeof(float));
    }
    sp_tensor_table_free(&tensors);
    sp_mapping_close(&mapping);
}

static void bytes_depend_on_names_values_and_metadata_only(void **state) {
    const temp_file *at = *state;
    sp_safetensors_entry entries[N_ENTRIES], turned[N_ENTRIES];
    make_entries(entries);
    for (size_t i = 0; i < N_ENTRIES; i++) turned[i] = entries[N_ENTRIES - 1 - i];
    json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", "order", "memory first");
    json_t *other = json_pack("{s:s, s:s}", "order", "memory first", "format", "pt");
    size_t n_first = 0, n_second = 0, n_third = 0;
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, metadata), SP_OK);
    char *first = temp_read(at->path, &n_first);
    assert_int_equal(sp_safetensors_write(at->path, turned, N_ENTRIES, other), SP_OK);
    char *second = temp_read(at->path, &n_second);
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, NULL), SP_OK);
    char *third = temp_read(at->path, &n_third);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    assert_true(n_third < n_first);
    assert_non_null(strstr(first + 8, "\"order\":\"memory first\""));
    free(third);
    free(second);
    free(first);
    json_decref(other);
    json_decref(metadata);
}

static void written_piece_by_piece_is_the_same_file(void **state) {
    const temp_file *at = *state;
    sp_safetensors_entry entries[N_ENTRIES];
    sp_safetensors_writer *writer = NULL;
    size_t n_whole = 0, n_pieces = 0;
    make_entries(entries);
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, NULL), SP_OK);
    char *whole = temp_read(at->path, &n_whole);
    assert_int_equal(sp_safetensors_begin(&writer, at->path, entries, N_ENTRIES, NULL), SP_OK);
    for (size_t e = 0; e < N_ENTRIES; e++) { /* sorted now; a value at a time */
        size_t n = 1;
        for (size_t i = 0; i < entries[e].n_dims; i++) n *= entries[e].shape[i];
        for (size_t i = 0; i < n; i++)
            assert_int_equal(sp_safetensors_append(writer, entries[e].data + i, 1), SP_OK);
    }
    assert_int_equal(sp_safetensors_commit(writer), SP_OK);
    char *pieces = temp_read(at->path, &n_pieces);
    assert_int_equal(n_whole, n_pieces);
    assert_memory_equal(whole, pieces, n_whole);
    free(pieces);
    free(whole);
    assert_int_equal(sp_safetensors_begin(&writer, at->path, entries, N_ENTRIES, NULL), SP_OK);
    sp_safetensors_abort(writer);
    assert_int_equal(temp_count(at->dir), 1);
}

static void sixteen_bit_types_are_written_rounded(void **state) {
    enum { N = 20000 }; /* more than are converted at once */
    const temp_file *at = *state;
    static float x[N], back[N], rounded[N];
    static uint16_t halves[N];
    sp_mapping mapping = {0};
    sp_tensor_table tensors = {0};
    size_t n_left_out = 0;
    fill_values(x, N, 5);
    const sp_safetensors_entry entries[] = {{"b", 2, {N / 10, 10}, x, SP_BF16},
                                            {"h", 1, {N}, x, SP_F16}};
    assert_int_equal(sp_safetensors_write(at->path, entries, 2, NULL), SP_OK);
    assert_int_equal(sp_mapping_open(&mapping, at->path), SP_OK);
    assert_int_equal(sp_safetensors_read(&tensors, &n_left_out, &mapping, at->path), SP_OK);
    assert_int_equal(sp_tensor_table_sort(&tensors), SP_OK);
    sp_tensor_read_rows(sp_tensor_table_find(&tensors, "b"), back, 0, N / 10);
    sp_f32_to_bf16(halves, x, N);
    sp_bf16_to_f32(rounded, halves, N);
    assert_memory_equal(back, rounded, sizeof back);
    sp_tensor_read_rows(sp_tensor_table_find(&tensors, "h"), back, 0, 1);
    sp_f32_to_f16(halves, x, N);
    sp_f16_to_f32(rounded, halves, N);
    assert_memory_equal(back, rounded, sizeof back);
    sp_tensor_table_free(&tensors);
    sp_mapping_close(&mapping);
}

static void failed_write_leaves_what_was_there(void **state) {
    const temp_file *at = *state;
    sp_safetensors_entry entries[N_ENTRIES];
    char missing[TEMP_PATH_SIZE];
    make_entries(entries);
    assert_int_equal(
        sp_safetensors_write(temp_path(missing, at->dir, "none/a"), entries, N_ENTRIES, NULL),
        SP_IO);
    temp_limit_files(100);
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, NULL), SP_IO);
    temp_limit_files(UINT64_MAX);
    assert_int_equal(temp_count(at->dir), 0);

    temp_write(at->path, "before", 6);
    entries[3].name = "\xff";
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, NULL), SP_BAD_DATA);
    entries[3].name = "b";
    assert_int_equal(sp_safetensors_write(at->path, entries, N_ENTRIES, NULL), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'b' stands twice"));
    size_t n_bytes = 0;
    char *bytes = temp_read(at->path, &n_bytes);
    assert_string_equal(bytes, "before");
    assert_int_equal(temp_count(at->dir), 1);
    free(bytes);
}

static void file_without_tensors_can_be_written_and_read(void **state) {
    const temp_file *at = *state;
    size_t n_tensors = 1, n_left_out = 0;
    assert_int_equal(sp_safetensors_write(at->path, NULL, 0, NULL), SP_OK);
    assert_int_equal(try_read(at->path, &n_tensors, &n_left_out), SP_OK);
    assert_int_equal(n_tensors, 0);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, temp_file_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_by_another_writer_gives_its_tensors),
        WITH_FOLDER(file_cut_anywhere_is_refused),
        WITH_FOLDER(false_header_length_is_refused),
        WITH_FOLDER(header_that_contradicts_the_file_or_itself_is_refused),
        WITH_FOLDER(shapes_of_any_rank_and_size_are_read),
        WITH_FOLDER(written_file_reads_back_with_aligned_values),
        WITH_FOLDER(bytes_depend_on_names_values_and_metadata_only),
        WITH_FOLDER(written_piece_by_piece_is_the_same_file),
        WITH_FOLDER(sixteen_bit_types_are_written_rounded),
        WITH_FOLDER(failed_write_leaves_what_was_there),
        WITH_FOLDER(file_without_tensors_can_be_written_and_read)};
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
