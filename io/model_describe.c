#include "io/model_source.h"

#include "io/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static sp_status no_memory(const char *path) {
    return sp_fail(SP_FAILURE, "no memory to describe '%s'", path);
}

/* Adds "tensors", "dtypes", "parameters" and "bytes". */
static void add_counts(json_t *made, const sp_tensor_table *tensors) {
    json_int_t n_values = 0, n_bytes = 0, counts[SP_N_DTYPES] = {0};
    for (size_t i = 0; i < tensors->n_entries; i++) {
        const sp_tensor *tensor = &tensors->entries[i].tensor;
        const size_t n = sp_tensor_n_values(tensor);
        n_values += (json_int_t)n; /* of values in a file: the sums fit */
        n_bytes += (json_int_t)sp_dtype_bytes(tensor->dtype, n);
        counts[tensor->dtype]++;
    }
    json_t *dtypes = json_object();
    for (sp_dtype dtype = 0; dtype < SP_N_DTYPES; dtype++)
        if (counts[dtype] > 0)
            json_object_set_new(dtypes, sp_dtypes[dtype].name, json_integer(counts[dtype]));
    json_object_set_new(made, "tensors", json_integer((json_int_t)tensors->n_entries));
    json_object_set_new(made, "dtypes", dtypes);
    json_object_set_new(made, "parameters", json_integer(n_values));
    json_object_set_new(made, "bytes", json_integer(n_bytes));
}

/* What of a config.json a reader wants to see, GPT-2's names for it included. */
static json_t *choose_config(const json_t *config) {
    static const char *const keys[] = {
        "hidden_size",
        "n_embd",
        "num_hidden_layers",
        "n_layer",
        "num_attention_heads",
        "n_head",
        "head_dim",
        "num_key_value_heads",
        "intermediate_size",
        "n_inner",
        "vocab_size",
        "max_position_embeddings",
        "n_positions",
        "original_max_position_embeddings",
        "use_sliding_window",
        "sliding_window",
        "rope_theta",
        "partial_rotary_factor",
        "rope_scaling",
        "rope_parameters",
        "rms_norm_eps",
        "layer_norm_epsilon",
        "hidden_act",
        "activation_function",
        "tie_word_embeddings",
        "bos_token_id",
        "eos_token_id",
    };
    json_t *chosen = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        json_t *value = json_object_get(config, keys[i]);
        if (value != NULL && !json_is_null(value)) json_object_set(chosen, keys[i], value);
    }
    return chosen;
}

static json_t *describe_tokenizer(const json_t *tokenizer) {
    const json_t *model = json_object_get(tokenizer, "model");
    const json_t *vocabulary = json_object_get(model, "vocab");
    const json_t *type = json_object_get(model, "type");
    const size_t n_tokens =
        json_is_array(vocabulary) ? json_array_size(vocabulary) : json_object_size(vocabulary);
    json_t *made = json_object();
    json_object_set_new(made, "model",
                        json_is_string(type) ? json_copy((json_t *)type) : json_string("unknown"));
    json_object_set_new(made, "tokens", json_integer((json_int_t)n_tokens));
    json_object_set_new(
        made, "merges",
        json_integer((json_int_t)json_array_size(json_object_get(model, "merges"))));
    json_object_set_new(
        made, "added_tokens",
        json_integer((json_int_t)json_array_size(json_object_get(tokenizer, "added_tokens"))));
    return made;
}

/* A model is worth describing even if its tokenizer cannot be read; the member then says why. */
static void add_tokenizer(json_t *made, const char *path) {
    json_t *tokenizer = NULL;
    if (sp_tokenizer_json_load(&tokenizer, path) == SP_OK)
        json_object_set_new(made, "tokenizer", describe_tokenizer(tokenizer));
    else
        json_object_set_new(made, "tokenizer", json_string(sp_message()));
    json_decref(tokenizer);
}

static sp_status describe_model(json_t **description, const char *path) {
    sp_model_source source = {0};
    SP_TRY(sp_model_source_open(&source, path));
    const char *architecture = NULL;
    sp_status status = sp_json_get_string(&architecture, source.config, "model_type", path);
    json_t *made = json_pack("{s:s, s:s*}", "format", source.format, "architecture", architecture);
    if (status == SP_OK && made == NULL) status = no_memory(path);
    if (status == SP_OK) {
        add_counts(made, &source.tensors);
        json_object_set_new(made, "config", choose_config(source.config));
        add_tokenizer(made, path);
        *description = made;
        made = NULL;
    }
    json_decref(made);
    sp_model_source_close(&source);
    return status;
}

static json_t *describe_shapes(const sp_tensor_table *tensors) {
    json_t *shapes = json_object();
    for (size_t i = 0; i < tensors->n_entries; i++) {
        const sp_tensor *tensor = &tensors->entries[i].tensor;
        json_t *shape = json_array();
        for (size_t d = 0; d < tensor->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
        json_object_set_new(shapes, tensors->entries[i].name, shape);
    }
    return shapes;
}

static sp_status describe_safetensors(json_t **description, const char *path) {
    sp_mapping mapping = {0};
    sp_tensor_table tensors = {0};
    size_t n_left_out = 0;
    SP_TRY(sp_mapping_open(&mapping, path));
    sp_status status = sp_safetensors_read(&tensors, &n_left_out, &mapping, path);
    if (status == SP_OK) status = sp_tensor_table_sort(&tensors);
    if (status != SP_OK) goto cleanup;
    json_t *made = json_pack("{s:s}", "format", "safetensors");
    if (made == NULL) {
        status = no_memory(path);
        goto cleanup;
    }
    add_counts(made, &tensors);
    if (n_left_out > 0)
        json_object_set_new(made, "tensors_left_out", json_integer((json_int_t)n_left_out));
    json_object_set_new(made, "shapes", describe_shapes(&tensors));
    *description = made;

cleanup:
    sp_tensor_table_free(&tensors);
    sp_mapping_close(&mapping);
    return status;
}

static sp_status describe_tokenizer_file(json_t **description, const char *path) {
    json_t *tokenizer = NULL;
    SP_TRY(sp_tokenizer_json_load(&tokenizer, path));
    *description =
        json_pack("{s:s, s:o}", "format", "tokenizer", "tokenizer", describe_tokenizer(tokenizer));
    json_decref(tokenizer);
    return *description == NULL ? no_memory(path) : SP_OK;
}

static bool ends_with(const char *text, const char *end) {
    const size_t text_len = strlen(text), end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

static sp_status describe_folder(json_t **description, const char *path) {
    char *config = NULL;
    if (asprintf(&config, "%s/config.json", path) < 0) return no_memory(path);
    const bool has_config = access(config, F_OK) == 0;
    free(config);
    return has_config ? describe_model(description, path)
                      : describe_tokenizer_file(description, path);
}

sp_status sp_model_source_describe(json_t **description, const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return describe_folder(description, path);
    if (ends_with(path, ".safetensors")) return describe_safetensors(description, path);
    if (ends_with(path, ".json")) return describe_tokenizer_file(description, path);
    return describe_model(description, path);
}
