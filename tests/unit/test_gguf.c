#include "tests/check.h"

#include "io/gguf.h"
#include "tests/gguf_image.h"
#include "tests/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const llama = "tests/fixtures/model_files/llama.gguf";
static const char *const quantised = "tests/fixtures/model_files/quantised.gguf";

static int set_up(void **state) { return temp_file_set_up(state, "a.gguf"); }

static sp_status open_image(sp_gguf *gguf, const gguf_image *image, const temp_file *at) {
    temp_write(at->path, image->bytes, image->n_bytes);
    return sp_gguf_open(gguf, at->path);
}

/* Whether an image is refused as data, with a message that holds `word`. */
static void assert_refused(const gguf_image *image, const temp_file *at, const char *word) {
    sp_gguf gguf = {0};
    const sp_status status = open_image(&gguf, image, at);
    if (status != SP_BAD_DATA || strstr(sp_message(), word) == NULL)
        fail_msg("status %d, not refused with '%s': %s", (int)status, word, sp_message());
    assert_true(gguf.metadata == NULL && gguf.mapping.data == NULL);
}

/* One tensor of 3 x 5 values behind the fields given. */
static void add_data(gguf_image *image, size_t alignment) {
    static const uint64_t dims[] = {5, 3};
    static const float values[15] = {0.5f, 1.5f};
    gguf_tensor(image, "x", 2, dims, GGML_F32, 0);
    gguf_pad(image, alignment);
    gguf_bytes(image, values, sizeof values);
}

static void fields_and_tensors_are_those_of_the_writer(void **state) {
    sp_gguf gguf = {0};
    json_t *merges = NULL, *types = NULL, *none = NULL;
    assert_int_equal(sp_gguf_open(&gguf, llama), SP_OK);
    assert_int_equal(gguf.version, 3);
    assert_string_equal(json_string_value(json_object_get(gguf.metadata, "general.architecture")),
                        "llama");
    assert_int_equal(
        json_integer_value(json_object_get(gguf.metadata, "llama.attention.head_count_kv")), 2);
    assert_true(json_real_value(json_object_get(gguf.metadata, "llama.rope.freq_base")) == 5000);
    assert_true(json_is_true(json_object_get(gguf.metadata, "tokenizer.ggml.add_bos_token")));

    assert_int_equal(sp_gguf_get_array(&merges, &gguf, "tokenizer.ggml.merges", llama), SP_OK);
    assert_int_equal(json_array_size(merges), 7);
    assert_string_equal(json_string_value(json_array_get(merges, 2)), "he ll");
    assert_int_equal(sp_gguf_get_array(&types, &gguf, "tokenizer.ggml.token_type", llama), SP_OK);
    assert_int_equal(json_array_size(types), 267);
    assert_int_equal(json_integer_value(json_array_get(types, 266)), 4);
    assert_int_equal(sp_gguf_get_array(&none, &gguf, "general.architecture", llama), SP_OK);
    assert_null(none);

    const sp_tensor *tensor = sp_tensor_table_find(&gguf.tensors, "blk.1.ffn_down.weight");
    assert_non_null(tensor);
    assert_true(tensor->n_dims == 2 && tensor->shape[0] == 8 && tensor->shape[1] == 12);
    assert_int_equal((uintptr_t)tensor->data % 32, 0);
    json_decref(types);
    json_decref(merges);
    sp_gguf_close(&gguf);
    sp_gguf_close(&gguf);
}

static void versions_2_and_3_are_read_others_refused_by_name(void **state) {
    static const struct {
        uint32_t version;
        const char *word; /* NULL: is read */
    } versions[] = {{2, NULL},         {3, NULL},
                    {0, "big-endian"}, {1, "version 1"},
                    {4, "version 4"},  {0x03000000, "big-endian"},
                    {99, "version"},   {0x02000000, "big-endian"}};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        gguf_image image = {0};
        gguf_header(&image, versions[i].version, 1, 0);
        add_data(&image, 32);
        if (versions[i].word != NULL) {
            assert_refused(&image, *state, versions[i].word);
            continue;
        }
        sp_gguf gguf = {0};
        assert_int_equal(open_image(&gguf, &image, *state), SP_OK);
        float row[5];
        sp_tensor_read_rows(sp_tensor_table_find(&gguf.tensors, "x"), row, 0, 1);
        assert_true(row[0] == 0.5f && row[1] == 1.5f && row[4] == 0);
        sp_gguf_close(&gguf);
    }
}

static void data_follow_the_files_own_alignment(void **state) {
    static const uint32_t good[] = {1, 8, 64, 4096}, bad[] = {0, 3, 48, 0xffffffff};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        gguf_image image = {0};
        sp_gguf gguf = {0};
        gguf_header(&image, 3, 1, 1);
        gguf_u32_field(&image, "general.alignment", good[i]);
        add_data(&image, good[i]);
        assert_int_equal(open_image(&gguf, &image, *state), SP_OK);
        float row[5];
        sp_tensor_read_rows(sp_tensor_table_find(&gguf.tensors, "x"), row, 0, 1);
        assert_true(row[0] == 0.5f);
        sp_gguf_close(&gguf);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_image image = {0};
        gguf_header(&image, 3, 1, 1);
        gguf_u32_field(&image, "general.alignment", bad[i]);
        add_data(&image, 32);
        assert_refused(&image, *state, "alignment");
    }
    gguf_image huge = {0}, text = {0};
    gguf_header(&huge, 3, 1, 1);
    gguf_u32_field(&huge, "general.alignment", 1U << 31);
    add_data(&huge, 32);
    assert_refused(&huge, *state, "cut short");
    gguf_header(&text, 3, 1, 1);
    gguf_string_field(&text, "general.alignment", "32");
    add_data(&text, 32);
    assert_refused(&text, *state, "alignment");
}

/* The padding behind the last tensor may be missing. */
static void cut_everywhere(const char *source, const temp_file *at, size_t step) {
    size_t n_bytes = 0, end = 0;
    char *bytes = temp_read(source, &n_bytes);
    sp_gguf gguf = {0};
    assert_int_equal(sp_gguf_open(&gguf, source), SP_OK);
    for (size_t i = 0; i < gguf.tensors.n_entries; i++) {
        const sp_tensor *tensor = &gguf.tensors.entries[i].tensor;
        const size_t tensor_end =
            (size_t)((const unsigned char *)tensor->data - gguf.mapping.data) +
            sp_dtype_bytes(tensor->dtype, sp_tensor_n_values(tensor));
        if (tensor_end > end) end = tensor_end;
    }
    sp_gguf_close(&gguf);
    assert_true(end > 0 && n_bytes - end < 32);
    for (size_t n = 0; n < end; n += step) {
        temp_write(at->path, bytes, n);
        assert_int_equal(sp_gguf_open(&gguf, at->path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), at->path));
    }
    temp_write(at->path, bytes, end);
    assert_int_equal(sp_gguf_open(&gguf, at->path), SP_OK);
    sp_gguf_close(&gguf);
    free(bytes);
}

static void file_cut_anywhere_is_refused(void **state) {
    cut_everywhere(quantised, *state, 1);
    cut_everywhere(llama, *state, 7); /* a prime: every kind of field is cut somewhere */
}

static void absurd_counts_are_refused_before_memory(void **state) {
    static const uint64_t counts[] = {1000, 1ULL << 32, 1ULL << 61, 1ULL << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        gguf_image tensors = {0}, fields = {0}, key = {0}, value = {0}, strings = {0}, items = {0};
        gguf_header(&tensors, 3, counts[i], 0);
        add_data(&tensors, 32);
        assert_refused(&tensors, *state, "cut short");

        gguf_header(&fields, 3, 1, counts[i]);
        add_data(&fields, 32);
        assert_refused(&fields, *state, "cut short");

        gguf_header(&key, 3, 0, 1);
        gguf_u64(&key, counts[i]);
        gguf_pad(&key, 64);
        assert_refused(&key, *state, "cut short");

        gguf_header(&value, 3, 0, 1);
        gguf_string(&value, "k");
        gguf_u32(&value, GGUF_STRING);
        gguf_u64(&value, counts[i]);
        gguf_pad(&value, 64);
        assert_refused(&value, *state, "cut short");

        gguf_header(&strings, 3, 0, 1);
        gguf_string(&strings, "k");
        gguf_u32(&strings, GGUF_ARRAY);
        gguf_u32(&strings, GGUF_STRING);
        gguf_u64(&strings, counts[i]);
        gguf_pad(&strings, 64);
        assert_refused(&strings, *state, "cut short");

        gguf_header(&items, 3, 0, 1);
        gguf_string(&items, "k");
        gguf_u32(&items, GGUF_ARRAY);
        gguf_u32(&items, GGUF_U64);
        gguf_u64(&items, counts[i]);
        gguf_pad(&items, 64);
        assert_refused(&items, *state, "cut short");
    }
}

static void string_in_an_array_beyond_the_end_is_refused(void **state) {
    gguf_image image = {0};
    gguf_header(&image, 3, 0, 1);
    gguf_string(&image, "k");
    gguf_u32(&image, GGUF_ARRAY);
    gguf_u32(&image, GGUF_STRING);
    gguf_u64(&image, 2);
    gguf_string(&image, "first");
    gguf_u64(&image, 7); /* six are left */
    gguf_bytes(&image, "second", 6);
    assert_refused(&image, *state, "cut short");
}

static void types_that_the_format_has_not_are_refused(void **state) {
    static const uint32_t bad[] = {13, 255, 0xffffffff};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_image value = {0}, item = {0};
        gguf_header(&value, 3, 0, 1);
        gguf_string(&value, "k");
        gguf_u32(&value, bad[i]);
        gguf_pad(&value, 64);
        assert_refused(&value, *state, "'k'");
        gguf_header(&item, 3, 0, 1);
        gguf_string(&item, "k");
        gguf_u32(&item, GGUF_ARRAY);
        gguf_u32(&item, bad[i]);
        gguf_u64(&item, 1);
        gguf_pad(&item, 64);
        assert_refused(&item, *state, "'k'");
    }
    gguf_image nested = {0};
    gguf_header(&nested, 3, 0, 1);
    gguf_string(&nested, "k");
    gguf_u32(&nested, GGUF_ARRAY);
    gguf_u32(&nested, GGUF_ARRAY);
    gguf_u64(&nested, 1);
    gguf_pad(&nested, 64);
    assert_refused(&nested, *state, "'k'");
}

static void values_that_are_none_are_refused(void **state) {
    gguf_image nan = {0}, flag = {0}, count = {0}, text = {0};
    gguf_header(&nan, 3, 0, 1);
    gguf_f32_field(&nan, "k", NAN);
    assert_refused(&nan, *state, "'k'");
    gguf_header(&flag, 3, 0, 1);
    gguf_bool_field(&flag, "k", 2);
    assert_refused(&flag, *state, "'k'");
    gguf_header(&count, 3, 0, 1);
    gguf_string(&count, "k");
    gguf_u32(&count, GGUF_U64);
    gguf_u64(&count, 1ULL << 63);
    assert_refused(&count, *state, "'k'");
    gguf_header(&text, 3, 0, 1);
    gguf_string_field(&text, "k", "\xc3(");
    assert_refused(&text, *state, "UTF-8");
}

static void keys_must_be_names_that_stand_once(void **state) {
    gguf_image twice = {0}, arrays = {0}, empty = {0}, bytes = {0}, nul = {0};
    const uint32_t items[] = {1, 2};
    gguf_header(&twice, 3, 0, 2);
    gguf_u32_field(&twice, "k", 1);
    gguf_u32_field(&twice, "k", 1);
    assert_refused(&twice, *state, "'k' stands twice");
    gguf_header(&arrays, 3, 0, 2);
    gguf_u32s_field(&arrays, "k", items, 2);
    gguf_u32s_field(&arrays, "k", items, 1);
    assert_refused(&arrays, *state, "'k' stands twice");
    gguf_header(&empty, 3, 0, 1);
    gguf_u32_field(&empty, "", 1);
    assert_refused(&empty, *state, "offset 24");
    gguf_header(&bytes, 3, 0, 1);
    gguf_u32_field(&bytes, "\xff", 1);
    assert_refused(&bytes, *state, "UTF-8");
    gguf_header(&nul, 3, 0, 1);
    gguf_u64(&nul, 3);
    gguf_bytes(&nul, "a\0b", 3);
    gguf_u32(&nul, GGUF_U32);
    gguf_u32(&nul, 1);
    assert_refused(&nul, *state, "NUL");
}

static void tensor_types_that_are_not_read_are_refused_by_name(void **state) {
    static const struct {
        uint32_t type;
        const char *word;
    } bad[] = {{GGML_Q3_K, "tensor 'x' has the type Q3_K"},
               {4, "Q4_2"},
               {24, "I8"},
               {31, "of number 31"},
               {57, "of number 57"},
               {UINT32_MAX, "of number 4294967295"}};
    static const uint64_t dims[] = {256, 2};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_image image = {0};
        gguf_header(&image, 3, 1, 0);
        gguf_tensor(&image, "x", 2, dims, bad[i].type, 0);
        gguf_pad(&image, 4096);
        assert_refused(&image, *state, bad[i].word);
    }
}

static void impossible_tensors_are_refused(void **state) {
    static const struct {
        uint32_t n_dims, type;
        uint64_t dims[5], offset;
        const char *word;
    } bad[] = {
        {5, GGML_F32, {1, 1, 1, 1, 1}, 0, "dimensions"},
        {UINT32_MAX, GGML_F32, {1}, 0, "dimensions"},
        {2, GGML_F32, {0, 1ULL << 63}, 0, "impossible"},
        {2, GGML_F32, {1ULL << 32, 1ULL << 32}, 0, "impossible"},
        {2, GGML_F32, {(1ULL << 62) + 1, 4}, 0, "impossible"},
        {1, GGML_F32, {1ULL << 62}, 0, "impossible"}, /* the values fit, their bytes wrap to 0 */
        {1, GGML_F32, {UINT64_MAX}, 0, "impossible"},
        {1, GGML_F32, {1ULL << 61}, 0, "cut short"},
        {1, GGML_F32, {1000}, 0, "cut short"},
        {2, GGML_Q4_1, {33, 32}, 0, "blocks of 32"},
        {2, GGML_Q4_1, {16, 2}, 0, "blocks of 32"},
        {0, GGML_Q4_1, {0}, 0, "blocks of 32"},
        {1, GGML_F32, {1}, 32, "not behind"},
        {1, GGML_F32, {1}, 1, "not behind"},
        {1, GGML_F32, {1}, UINT64_MAX, "not behind"},
        {1, GGML_F32, {1}, 1ULL << 63, "not behind"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_image image = {0};
        gguf_header(&image, 3, 1, 0);
        gguf_string(&image, "x");
        gguf_u32(&image, bad[i].n_dims);
        gguf_bytes(&image, bad[i].dims, (bad[i].n_dims > 5 ? 5 : bad[i].n_dims) * 8);
        gguf_u32(&image, bad[i].type);
        gguf_u64(&image, bad[i].offset);
        gguf_pad(&image, 1024);
        assert_refused(&image, *state, bad[i].word);
    }
}

static void tensors_that_overlap_or_share_a_name_are_refused(void **state) {
    static const uint64_t dims[] = {9};
    gguf_image overlap = {0}, twice = {0};
    gguf_header(&overlap, 3, 2, 0);
    gguf_tensor(&overlap, "x", 1, dims, GGML_F32, 0);
    gguf_tensor(&overlap, "y", 1, dims, GGML_F32, 32);
    gguf_pad(&overlap, 1024);
    assert_refused(&overlap, *state, "tensor 'y'");
    gguf_header(&twice, 3, 2, 0);
    gguf_tensor(&twice, "x", 1, dims, GGML_F32, 0);
    gguf_tensor(&twice, "x", 1, dims, GGML_F32, 64);
    gguf_pad(&twice, 1024);
    assert_refused(&twice, *state, "'x' stands twice");
}

static void other_files_are_refused_by_what_they_lack(void **state) {
    const temp_file *at = *state;
    sp_gguf gguf = {0};
    char missing[TEMP_PATH_SIZE];
    temp_write(at->path, "GGML\3\0\0\0 and so on", 18);
    assert_int_equal(sp_gguf_open(&gguf, at->path), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "not a GGUF file"));
    assert_int_equal(sp_gguf_open(&gguf, temp_path(missing, at->dir, "none.gguf")), SP_IO);
    assert_non_null(strstr(sp_message(), "none.gguf"));
    assert_int_equal(sp_gguf_open(&gguf, at->dir), SP_BAD_DATA);
}

/* A file with any one byte changed is read or refused, but never read beyond its end: the
   sanitizers and the kernel watch. */
static void file_with_any_byte_changed_does_no_harm(void **state) {
    const temp_file *at = *state;
    size_t n_bytes = 0;
    char *bytes = temp_read(quantised, &n_bytes);
    for (size_t i = 0; i < n_bytes && i < 1200; i++) { /* the header ends before */
        const char before = bytes[i];
        bytes[i] = (char)(before ^ (1 << i % 8));
        temp_write(at->path, bytes, n_bytes);
        bytes[i] = before;
        sp_gguf gguf = {0};
        if (sp_gguf_open(&gguf, at->path) != SP_OK) continue;
        for (size_t t = 0; t < gguf.tensors.n_entries; t++) {
            const sp_tensor *tensor = &gguf.tensors.entries[t].tensor;
            float *values = calloc(sp_tensor_n_values(tensor), sizeof *values);
            assert_non_null(values);
            sp_tensor_read_rows(tensor, values, 0,
                                sp_tensor_n_values(tensor) / sp_tensor_row_values(tensor));
            free(values);
        }
        sp_gguf_close(&gguf);
    }
    free(bytes);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, temp_file_tear_down)

/* Wherever a file ends behind its header, an outline of it has all tensors, and data for those that
   are there. */
static void outline_needs_the_header_alone(void **state) {
    const temp_file *at = *state;
    sp_gguf whole = {0};
    size_t n_bytes = 0;
    char *bytes = temp_read(llama, &n_bytes);
    assert_int_equal(sp_gguf_open(&whole, llama), SP_OK);
    size_t header = n_bytes;
    for (size_t i = 0; i < whole.tensors.n_entries; i++) {
        const unsigned char *data = whole.tensors.entries[i].tensor.data;
        if ((size_t)(data - whole.mapping.data) < header)
            header = (size_t)(data - whole.mapping.data);
    }
    for (size_t cut = header - 64; cut < n_bytes; cut += 997) {
        sp_gguf gguf = {0};
        temp_write(at->path, bytes, cut);
        const sp_status status = sp_gguf_open_outline(&gguf, at->path);
        if (cut < header) {
            assert_int_equal(status, SP_BAD_DATA);
            continue;
        }
        assert_int_equal(status, SP_OK);
        assert_int_equal(gguf.tensors.n_entries, whole.tensors.n_entries);
        for (size_t i = 0; i < gguf.tensors.n_entries; i++) {
            const sp_tensor *tensor = &gguf.tensors.entries[i].tensor;
            const sp_tensor *same = &whole.tensors.entries[i].tensor;
            const size_t end = (size_t)((const unsigned char *)same->data - whole.mapping.data) +
                               sp_dtype_bytes(same->dtype, sp_tensor_n_values(same));
            assert_int_equal(sp_tensor_n_values(tensor), sp_tensor_n_values(same));
            assert_true((tensor->data != NULL) == (end <= cut));
        }
        sp_gguf_close(&gguf);
    }
    free(bytes);
    sp_gguf_close(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_and_tensors_are_those_of_the_writer),
        WITH_FOLDER(versions_2_and_3_are_read_others_refused_by_name),
        WITH_FOLDER(data_follow_the_files_own_alignment),
        WITH_FOLDER(file_cut_anywhere_is_refused),
        WITH_FOLDER(outline_needs_the_header_alone),
        WITH_FOLDER(absurd_counts_are_refused_before_memory),
        WITH_FOLDER(string_in_an_array_beyond_the_end_is_refused),
        WITH_FOLDER(types_that_the_format_has_not_are_refused),
        WITH_FOLDER(values_that_are_none_are_refused),
        WITH_FOLDER(keys_must_be_names_that_stand_once),
        WITH_FOLDER(tensor_types_that_are_not_read_are_refused_by_name),
        WITH_FOLDER(impossible_tensors_are_refused),
        WITH_FOLDER(tensors_that_overlap_or_share_a_name_are_refused),
        WITH_FOLDER(other_files_are_refused_by_what_they_lack),
        WITH_FOLDER(file_with_any_byte_changed_does_no_harm)};
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
