#include "tests/check.h"

#include "io/model_source.h"
#include "tests/gguf_image.h"
#include "tests/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const folder_path = "tests/fixtures/model_files/llama";
static const char *const gguf_path = "tests/fixtures/model_files/llama.gguf";

static int set_up(void **state) { return temp_file_set_up(state, "a.gguf"); }

static void write_text(const temp_file *at, const char *name, const char *text) {
    char path[TEMP_PATH_SIZE];
    temp_write(temp_path(path, at->dir, name), text, strlen(text));
}

static void copy_file(const temp_file *at, const char *name, const char *new_name) {
    char from[TEMP_PATH_SIZE], to[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    char *bytes = temp_read(temp_path(from, folder_path, name), &n_bytes);
    temp_write(temp_path(to, at->dir, new_name), bytes, n_bytes);
    free(bytes);
}

/* Writes a file of tensors without values; `header` without its braces. */
static void write_tensors(const temp_file *at, const char *file, const char *header) {
    char path[TEMP_PATH_SIZE];
    unsigned char bytes[1024];
    const uint64_t n = strlen(header) + 2;
    assert_true(n + 8 <= sizeof bytes);
    memcpy(bytes, &n, 8);
    snprintf((char *)bytes + 8, sizeof bytes - 8, "{%s}", header);
    temp_write(temp_path(path, at->dir, file), bytes, 8 + n);
}

static void write_shard(const temp_file *at, const char *file, const char *tensor) {
    char header[256];
    snprintf(header, sizeof header,
             "\"%s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", tensor);
    write_tensors(at, file, header);
}

static void assert_not_opened(const char *path, sp_status wanted, const char *word) {
    sp_model_source source = {0};
    const sp_status status = sp_model_source_open(&source, path);
    if (status != wanted || strstr(sp_message(), word) == NULL)
        fail_msg("status %d, message without '%s': %s", (int)status, word, sp_message());
    assert_true(source.path == NULL && source.config == NULL);
}

static float *read_all(const sp_tensor *tensor, size_t *n) {
    *n = sp_tensor_n_values(tensor);
    float *values = calloc(*n, sizeof *values);
    assert_non_null(values);
    sp_tensor_read_rows(tensor, values, 0, *n / sp_tensor_row_values(tensor));
    return values;
}

static void folder_and_gguf_of_one_model_have_the_same_tensors(void **state) {
    sp_model_source folder = {0}, gguf = {0};
    assert_int_equal(sp_model_source_open(&folder, folder_path), SP_OK);
    assert_int_equal(sp_model_source_open(&gguf, gguf_path), SP_OK);
    assert_string_equal(folder.format, "safetensors");
    assert_string_equal(gguf.format, "gguf");
    assert_int_equal(folder.tensors.n_entries, 21);
    assert_int_equal(folder.n_left_out, 1);
    assert_int_equal(gguf.tensors.n_entries, 22); /* and rope_freqs.weight */
    for (size_t i = 0; i < folder.tensors.n_entries; i++) {
        const sp_tensor *wanted = &folder.tensors.entries[i].tensor;
        const sp_tensor *tensor =
            sp_tensor_table_find(&gguf.tensors, folder.tensors.entries[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->n_dims, wanted->n_dims);
        assert_memory_equal(tensor->shape, wanted->shape, sizeof tensor->shape);
        size_t n = 0;
        float *a = read_all(tensor, &n), *b = read_all(wanted, &n);
        assert_memory_equal(a, b, n * sizeof *a);
        free(b);
        free(a);
    }
    const sp_tensor *divisors = sp_tensor_table_find(&gguf.tensors, "rope_freqs.weight");
    float values[3];
    assert_true(divisors != NULL && sp_tensor_n_values(divisors) == 3);
    sp_tensor_read_rows(divisors, values, 0, 1);
    assert_true(values[0] == 1 && values[1] == 1.5f && values[2] == 8);
    sp_model_source_close(&gguf);
    sp_model_source_close(&folder);
    sp_model_source_close(&folder);
}

static void folder_and_gguf_of_one_model_have_the_same_config(void **state) {
    static const char *const keys[] = {"model_type",
                                       "hidden_size",
                                       "num_hidden_layers",
                                       "hidden_act",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "head_dim",
                                       "intermediate_size",
                                       "max_position_embeddings",
                                       "rms_norm_eps",
                                       "rope_theta",
                                       "tie_word_embeddings",
                                       "bos_token_id",
                                       "eos_token_id",
                                       "vocab_size",
                                       "attention_bias",
                                       "mlp_bias",
                                       "rope_scaling"};
    sp_model_source folder = {0}, gguf = {0};
    assert_int_equal(sp_model_source_open(&folder, folder_path), SP_OK);
    assert_int_equal(sp_model_source_open(&gguf, gguf_path), SP_OK);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_t *a = json_object_get(folder.config, keys[i]);
        const json_t *b = json_object_get(gguf.config, keys[i]);
        if (a == NULL ? b != NULL && !json_is_null(b) : !json_equal(a, b))
            fail_msg("'%s' differs", keys[i]);
    }
    assert_true(folder.n_stop_ids == 2 && gguf.n_stop_ids == 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(folder.stop_ids[i], 264 + i);
        assert_int_equal(gguf.stop_ids[i], 264 + i);
    }
    sp_model_source_close(&gguf);
    sp_model_source_close(&folder);
}

/* The fields of a llama model in GGUF; `without` is left out, and `n_more` are to follow. */
static void begin_llama(gguf_image *image, const char *without, uint64_t n_more) {
    static const struct {
        const char *key;
        uint32_t value;
    } fields[] = {{"llama.embedding_length", 8},
                  {"llama.block_count", 0},
                  {"llama.attention.head_count", 2},
                  {"llama.feed_forward_length", 16},
                  {"llama.context_length", 32}};
    const char *const eps = "llama.attention.layer_norm_rms_epsilon";
    gguf_header(image, 3, 0, (without == NULL ? 7 : 6) + n_more);
    gguf_string_field(image, "general.architecture", "llama");
    for (size_t i = 0; i < 5; i++)
        if (without == NULL || strcmp(without, fields[i].key) != 0)
            gguf_u32_field(image, fields[i].key, fields[i].value);
    if (without == NULL || strcmp(without, eps) != 0) gguf_f32_field(image, eps, 1e-5f);
}

static void gguf_that_lacks_a_key_is_refused_by_its_name(void **state) {
    static const char *const keys[] = {"llama.embedding_length", "llama.block_count",
                                       "llama.attention.head_count", "llama.feed_forward_length",
                                       "llama.attention.layer_norm_rms_epsilon"};
    const temp_file *at = *state;
    for (size_t i = 0; i < 5; i++) {
        gguf_image image = {0};
        begin_llama(&image, keys[i], 0);
        temp_write(at->path, image.bytes, image.n_bytes);
        assert_not_opened(at->path, SP_BAD_DATA, keys[i]);
    }
}

static void kinds_of_gguf_that_are_not_supported_are_refused_by_name(void **state) {
    const temp_file *at = *state;
    const uint32_t heads[] = {2, 1};
    static const char *const words[] = {
        "'bloom' is not supported; supported: llama, gpt2, qwen2, phi3",
        "general.architecture",
        "experts",
        "parts",
        "layers that differ",
        "must agree",
        "all are rotated"};
    gguf_image image[7] = {{.n_bytes = 0}};
    gguf_header(&image[0], 3, 0, 1);
    gguf_string_field(&image[0], "general.architecture", "bloom");
    gguf_header(&image[1], 3, 0, 0);
    for (size_t i = 2; i < 7; i++) begin_llama(&image[i], NULL, i == 6 ? 2 : 1);
    gguf_u32_field(&image[2], "llama.expert_count", 8);
    gguf_u32_field(&image[3], "split.count", 3);
    gguf_u32s_field(&image[4], "llama.attention.head_count_kv", heads, 2);
    gguf_u32_field(&image[5], "llama.attention.value_length", 6);
    gguf_u32_field(&image[6], "llama.attention.key_length", 4);
    gguf_u32_field(&image[6], "llama.rope.dimension_count", 2);
    for (size_t i = 0; i < 7; i++) {
        temp_write(at->path, image[i].bytes, image[i].n_bytes);
        assert_not_opened(at->path, SP_BAD_DATA, words[i]);
    }
}

static void rope_scaling_of_a_gguf_goes_on_under_its_name(void **state) {
    const temp_file *at = *state;
    gguf_image image = {0};
    sp_model_source source = {0};
    begin_llama(&image, NULL, 2);
    gguf_string_field(&image, "llama.rope.scaling.type", "yarn");
    gguf_f32_field(&image, "llama.rope.scaling.factor", 4);
    temp_write(at->path, image.bytes, image.n_bytes);
    assert_int_equal(sp_model_source_open(&source, at->path), SP_OK);
    const json_t *scaling = json_object_get(source.config, "rope_scaling");
    assert_string_equal(json_string_value(json_object_get(scaling, "rope_type")), "yarn");
    assert_true(json_real_value(json_object_get(scaling, "factor")) == 4);
    assert_true(json_is_true(json_object_get(source.config, "tie_word_embeddings")));
    sp_model_source_close(&source);
}

static void heads_that_do_not_divide_a_ggufs_rows_are_refused(void **state) {
    static const uint64_t dims[] = {8, 7};
    const temp_file *at = *state;
    gguf_image fields = {0}, image = {0};
    begin_llama(&fields, NULL, 0);
    gguf_header(&image, 3, 1, 7);
    gguf_bytes(&image, fields.bytes + image.n_bytes, fields.n_bytes - image.n_bytes);
    gguf_tensor(&image, "blk.0.attn_q.weight", 2, dims, GGML_F32, 0);
    gguf_pad(&image, 1024);
    temp_write(at->path, image.bytes, image.n_bytes);
    assert_not_opened(at->path, SP_BAD_DATA, "blk.0.attn_q.weight");
}

static void base_models_names_get_their_prefix(void **state) {
    const temp_file *at = *state;
    sp_model_source source = {0};
    write_text(at, "config.json", "{\"eos_token_id\": 7}");
    write_shard(at, "1.safetensors", "embed_tokens.weight");
    write_shard(at, "2.safetensors", "lm_head.weight");
    write_shard(at, "3.safetensors", "layers.0.mlp.up_proj.weight");
    write_text(at, "model.safetensors.index.json",
               "{\"weight_map\": {\"embed_tokens.weight\": \"1.safetensors\", "
               "\"lm_head.weight\": \"2.safetensors\", "
               "\"layers.0.mlp.up_proj.weight\": \"3.safetensors\"}}");
    assert_int_equal(sp_model_source_open(&source, at->dir), SP_OK);
    assert_int_equal(source.n_mappings, 3);
    assert_non_null(sp_tensor_table_find(&source.tensors, "model.embed_tokens.weight"));
    assert_non_null(sp_tensor_table_find(&source.tensors, "model.layers.0.mlp.up_proj.weight"));
    assert_non_null(sp_tensor_table_find(&source.tensors, "lm_head.weight"));
    assert_int_equal(source.n_stop_ids, 1); /* config.json's, there being no other */
    assert_int_equal(source.stop_ids[0], 7);
    sp_model_source_close(&source);
}

/* A member of a safetensors header: a tensor whose dimensions hold a 0, and so no values. */
#define EMPTY(name, dtype, shape) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[0,0]}"

static void gpt2s_matrices_are_marked_and_its_buffers_left_out(void **state) {
    static const char *const headers[] = {
        EMPTY("wte.weight", "F32", "[9,0]") "," EMPTY("lm_head.weight", "F32", "[9,0]"),
        EMPTY("h.0.attn.c_attn.weight", "F16", "[0,12]") "," EMPTY(
            "h.0.attn.c_attn.bias", "F16", "[0]") "," EMPTY("h.0.mlp.c_fc.weight", "F32", "[0,16]"),
        EMPTY("h.0.attn.bias", "F32", "[1,1,0,8]") "," EMPTY("h.0.attn.masked_bias", "F32", "[0]"),
        EMPTY("h.1.attn.bias", "U8", "[1,1,0,8]") "," EMPTY("h.2.attn.bias", "BOOL", "[0,8]")};
    const temp_file *at = *state;
    sp_model_source source = {0};
    char header[1024];
    snprintf(header, sizeof header, "%s,%s,%s,%s", headers[0], headers[1], headers[2], headers[3]);
    write_tensors(at, "model.safetensors", header);
    for (size_t is_gpt2 = 0; is_gpt2 < 2; is_gpt2++) {
        write_text(at, "config.json", is_gpt2 ? "{\"model_type\": \"gpt2\"}" : "{}");
        assert_int_equal(sp_model_source_open(&source, at->dir), SP_OK);
        assert_int_equal(source.tensors.n_entries, 5);
        assert_int_equal(source.n_left_out, 4);
        const sp_tensor *table = sp_tensor_table_find(&source.tensors, "transformer.wte.weight");
        const sp_tensor *qkv =
            sp_tensor_table_find(&source.tensors, "transformer.h.0.attn.c_attn.weight");
        const sp_tensor *bias =
            sp_tensor_table_find(&source.tensors, "transformer.h.0.attn.c_attn.bias");
        assert_true(table != NULL && table->shape[0] == 9 && !table->is_transposed);
        assert_true(bias != NULL && !bias->is_transposed);
        assert_non_null(sp_tensor_table_find(&source.tensors, "lm_head.weight"));
        assert_int_equal(qkv->is_transposed, is_gpt2);
        assert_true(qkv->shape[1 - is_gpt2] == 12 && qkv->shape[is_gpt2] == 0);
        sp_model_source_close(&source);
    }
    write_text(at, "config.json", "{\"model_type\": 2}");
    assert_not_opened(at->dir, SP_BAD_DATA, "model_type");
}

static void llamas_frequencies_are_left_out(void **state) {
    const temp_file *at = *state;
    sp_model_source source = {0};
    write_text(at, "config.json", "{\"model_type\": \"llama\"}");
    write_tensors(at, "model.safetensors",
                  EMPTY("model.embed_tokens.weight", "F32", "[9,0]") "," EMPTY(
                      "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", "[0]"));
    assert_int_equal(sp_model_source_open(&source, at->dir), SP_OK);
    assert_int_equal(source.tensors.n_entries, 1);
    assert_int_equal(source.n_left_out, 1);
    sp_model_source_close(&source);
}

static void index_that_contradicts_its_folder_is_refused(void **state) {
    static const struct {
        const char *index, *word;
        sp_status status;
    } bad[] = {
        {"{", "not JSON", SP_BAD_DATA},
        {"[]", "weight_map", SP_BAD_DATA},
        {"{}", "weight_map", SP_BAD_DATA},
        {"{\"weight_map\": {}}", "weight_map", SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": 1}}", "'x'", SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"\"}}", "'x'", SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"../1.safetensors\"}}", "'x'", SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"/etc/passwd\"}}", "'x'", SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"3.safetensors\"}}", "3.safetensors", SP_IO},
        {"{\"weight_map\": {\"z\": \"1.safetensors\"}}", "'z'", SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"1.safetensors\", \"y\": \"1.safetensors\"}}", "'y'",
         SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"2.safetensors\", \"y\": \"1.safetensors\"}}", "is not in",
         SP_BAD_DATA},
        {"{\"weight_map\": {\"x\": \"1.safetensors\", \"y\": \"4.safetensors\"}}", "stands twice",
         SP_BAD_DATA},
    };
    const temp_file *at = *state;
    write_text(at, "config.json", "{}");
    write_shard(at, "1.safetensors", "x");
    write_shard(at, "2.safetensors", "y");
    write_shard(at, "4.safetensors", "x");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text(at, "model.safetensors.index.json", bad[i].index);
        assert_not_opened(at->dir, bad[i].status, bad[i].word);
    }
}

static void folder_without_what_a_model_needs_is_refused(void **state) {
    const temp_file *at = *state;
    char path[TEMP_PATH_SIZE];
    assert_not_opened(at->dir, SP_IO, "config.json");
    write_text(at, "config.json", "[]");
    assert_not_opened(at->dir, SP_BAD_DATA, "config.json");
    write_text(at, "config.json", "{}");
    assert_not_opened(at->dir, SP_BAD_DATA, "model.safetensors");
    write_text(at, "pytorch_model.bin", "");
    assert_not_opened(at->dir, SP_BAD_DATA, "pytorch_model.bin");
    write_text(at, "model.safetensors", "");
    assert_not_opened(at->dir, SP_BAD_DATA, "cut short");
    write_shard(at, "model.safetensors", "x");
    write_text(at, "generation_config.json", "{\"eos_token_id\": \"</s>\"}");
    assert_not_opened(at->dir, SP_BAD_DATA, "token id");
    assert_not_opened(temp_path(path, at->dir, "none"), SP_IO, "none");

    json_t *tokenizer = NULL;
    assert_int_equal(sp_tokenizer_json_load(&tokenizer, at->dir), SP_IO);
    assert_non_null(strstr(sp_message(), "tokenizer.json"));
    assert_int_equal(sp_tokenizer_json_load(&tokenizer, path), SP_IO);
}

static json_t *describe(const char *path) {
    json_t *description = NULL;
    assert_int_equal(sp_model_source_describe(&description, path), SP_OK);
    return description;
}

static json_int_t number_of(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static void every_kind_is_described(void **state) {
    const temp_file *at = *state;
    copy_file(at, "tokenizer.json", "tokenizer.json");
    copy_file(at, "model-00002-of-00002.safetensors", "a.safetensors");
    char path[TEMP_PATH_SIZE];
    json_t *folder = describe(folder_path), *gguf = describe(gguf_path), *alone = describe(at->dir);
    json_t *file = describe(temp_path(path, at->dir, "a.safetensors"));
    json_t *tokenizer = describe(temp_path(path, at->dir, "tokenizer.json"));
    assert_string_equal(json_string_value(json_object_get(folder, "format")), "safetensors");
    assert_string_equal(json_string_value(json_object_get(gguf, "format")), "gguf");
    assert_string_equal(json_string_value(json_object_get(alone, "format")), "tokenizer");
    assert_string_equal(json_string_value(json_object_get(gguf, "architecture")), "llama");
    assert_int_equal(number_of(gguf, "tensors"), 22);
    /* tables and head of 267 rows, 5 norms, 2 layers of attention and of three matrices, divisors */
    assert_int_equal(number_of(gguf, "parameters"),
                     2 * 267 * 8 + 5 * 8 + 2 * (2 * 24 * 8 + 2 * 12 * 8) + 2 * 3 * 12 * 8 + 3);
    assert_int_equal(number_of(json_object_get(gguf, "dtypes"), "F16"), 4);
    assert_int_equal(number_of(json_object_get(gguf, "config"), "head_dim"), 6);
    assert_int_equal(number_of(json_object_get(gguf, "tokenizer"), "merges"), 7);
    assert_int_equal(number_of(json_object_get(folder, "tokenizer"), "added_tokens"), 4);
    assert_true(json_equal(tokenizer, alone));
    assert_non_null(json_object_get(json_object_get(file, "shapes"), "model.norm.weight"));
    json_decref(tokenizer);
    json_decref(file);
    json_decref(alone);
    json_decref(gguf);
    json_decref(folder);
}

static void model_whose_tokenizer_is_unknown_is_described_all_the_same(void **state) {
    const temp_file *at = *state;
    gguf_image image = {0};
    begin_llama(&image, NULL, 1);
    gguf_string_field(&image, "tokenizer.ggml.model", "t5");
    temp_write(at->path, image.bytes, image.n_bytes);
    json_t *description = describe(at->path);
    assert_non_null(strstr(json_string_value(json_object_get(description, "tokenizer")), "'t5'"));
    json_decref(description);
}

/* A folder with config.json alone is enough to plan by, but not to run; damaged weights are for
   neither. */
static void outline_of_a_folder_needs_no_weights(void **state) {
    const temp_file *at = *state;
    sp_model_source source = {0};
    copy_file(at, "config.json", "config.json");
    assert_not_opened(at->dir, SP_BAD_DATA, "neither");
    assert_int_equal(sp_model_source_open_outline(&source, at->dir), SP_OK);
    assert_int_equal(source.tensors.n_entries, 0);
    assert_non_null(json_object_get(source.config, "model_type"));
    sp_model_source_close(&source);
    write_text(at, "model.safetensors", "no tensors");
    assert_int_equal(sp_model_source_open_outline(&source, at->dir), SP_BAD_DATA);
    assert_int_equal(sp_model_source_open_outline(&source, folder_path), SP_OK);
    assert_true(source.tensors.n_entries > 0);
    sp_model_source_close(&source);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, temp_file_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_and_gguf_of_one_model_have_the_same_tensors),
        cmocka_unit_test(folder_and_gguf_of_one_model_have_the_same_config),
        WITH_FOLDER(gguf_that_lacks_a_key_is_refused_by_its_name),
        WITH_FOLDER(kinds_of_gguf_that_are_not_supported_are_refused_by_name),
        WITH_FOLDER(rope_scaling_of_a_gguf_goes_on_under_its_name),
        WITH_FOLDER(heads_that_do_not_divide_a_ggufs_rows_are_refused),
        WITH_FOLDER(base_models_names_get_their_prefix),
        WITH_FOLDER(gpt2s_matrices_are_marked_and_its_buffers_left_out),
        WITH_FOLDER(llamas_frequencies_are_left_out),
        WITH_FOLDER(index_that_contradicts_its_folder_is_refused),
        WITH_FOLDER(folder_without_what_a_model_needs_is_refused),
        WITH_FOLDER(outline_of_a_folder_needs_no_weights),
        WITH_FOLDER(every_kind_is_described),
        WITH_FOLDER(model_whose_tokenizer_is_unknown_is_described_all_the_same)};
    return cmocka_run_group_tests_name("model_source", tests, NULL, NULL);
}
