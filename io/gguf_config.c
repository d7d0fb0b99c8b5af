#include "io/gguf_config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SIZE = 96 };

/* Metadata that have a key in config.json, and must be there if is_needed. */
static const struct {
    const char *gguf, *config;
    bool is_needed;
} keys[] = {
    {"llama.embedding_length", "hidden_size", true},
    {"llama.block_count", "num_hidden_layers", true},
    {"llama.attention.head_count", "num_attention_heads", true},
    {"llama.attention.head_count_kv", "num_key_value_heads", false},
    {"llama.feed_forward_length", "intermediate_size", true},
    {"llama.context_length", "max_position_embeddings", false},
    {"llama.attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    {"llama.rope.freq_base", "rope_theta", false},
    {"tokenizer.ggml.bos_token_id", "bos_token_id", false},
    {"tokenizer.ggml.eos_token_id", "eos_token_id", false},
};

/* What a name in GGUF becomes: whole names first, then what stands between "blk.N." and ".weight" or
   ".bias". */
static const char *const whole_names[][2] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};
static const char *const layer_names[][2] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
enum {
    N_KEYS = sizeof keys / sizeof keys[0],
    N_WHOLE_NAMES = sizeof whole_names / sizeof whole_names[0],
    N_LAYER_NAMES = sizeof layer_names / sizeof layer_names[0]
};

static sp_status check_kind(const sp_gguf *gguf, const char *path) {
    const char *architecture = NULL;
    size_t n_files = 1, n_experts = 0;
    SP_TRY(sp_json_get_string(&architecture, gguf->metadata, "general.architecture", path));
    if (architecture == NULL) return sp_fail(SP_BAD_DATA, "'%s': no 'general.architecture'", path);
    if (strcmp(architecture, "llama") != 0)
        return sp_fail(SP_BAD_DATA, "'%s': architecture '%s' is not supported; supported: llama",
                       path, architecture);
    SP_TRY(sp_json_get_size(&n_files, gguf->metadata, "split.count", path));
    if (n_files > 1)
        return sp_fail(SP_BAD_DATA,
                       "'%s': is one of %zu parts; join them with llama.cpp's gguf-split --merge",
                       path, n_files);
    SP_TRY(sp_json_get_size(&n_experts, gguf->metadata, "llama.expert_count", path));
    if (n_experts > 0)
        return sp_fail(SP_BAD_DATA, "'%s': a mixture of %zu experts is not supported", path,
                       n_experts);
    return SP_OK;
}

static bool has_array(const sp_gguf *gguf, const char *key) {
    return json_is_null(json_object_get(gguf->metadata, key));
}

static sp_status copy_keys(json_t *config, const sp_gguf *gguf, const char *path) {
    for (size_t i = 0; i < N_KEYS; i++) {
        json_t *value = json_object_get(gguf->metadata, keys[i].gguf);
        if (has_array(gguf, keys[i].gguf))
            return sp_fail(SP_BAD_DATA,
                           "'%s': '%s' is an array; layers that differ are not supported", path,
                           keys[i].gguf);
        if (value == NULL && keys[i].is_needed)
            return sp_fail(SP_BAD_DATA, "'%s': no '%s'", path, keys[i].gguf);
        if (value != NULL && json_object_set(config, keys[i].config, value) != 0)
            return sp_fail(SP_FAILURE, "'%s': no memory for its configuration", path);
    }
    return SP_OK;
}

/* Values, keys and rotation must have one width; each may be left out. */
static sp_status set_head_dim(json_t *config, const sp_gguf *gguf, const char *path) {
    size_t head_dim = 0, n_values = 0, n_rotated = 0;
    SP_TRY(sp_json_get_size(&n_rotated, gguf->metadata, "llama.rope.dimension_count", path));
    head_dim = n_rotated;
    SP_TRY(sp_json_get_size(&head_dim, gguf->metadata, "llama.attention.key_length", path));
    n_values = head_dim;
    SP_TRY(sp_json_get_size(&n_values, gguf->metadata, "llama.attention.value_length", path));
    if (head_dim == 0 && n_values == 0) return SP_OK;
    if (n_values != head_dim || (n_rotated != 0 && n_rotated != head_dim))
        return sp_fail(SP_BAD_DATA,
                       "'%s': heads of %zu keys, %zu values and %zu rotated are not supported; the "
                       "three must agree",
                       path, head_dim, n_values, n_rotated);
    json_object_set_new(config, "head_dim", json_integer((json_int_t)head_dim));
    return SP_OK;
}

/* The scaling goes on under its name, for the model to accept or refuse. */
static sp_status set_rope_scaling(json_t *config, const sp_gguf *gguf, const char *path) {
    const char *type = "none";
    double factor = 1;
    SP_TRY(sp_json_get_string(&type, gguf->metadata, "llama.rope.scaling.type", path));
    SP_TRY(sp_json_get_double(&factor, gguf->metadata, "llama.rope.scale_linear", path));
    if (factor != 1) type = "linear"; /* older files say no more */
    SP_TRY(sp_json_get_double(&factor, gguf->metadata, "llama.rope.scaling.factor", path));
    json_t *scaling = strcmp(type, "none") == 0
                          ? json_null()
                          : json_pack("{s:s, s:f}", "rope_type", type, "factor", factor);
    json_object_set_new(config, "rope_scaling", scaling);
    return SP_OK;
}

/* The metadata's own count, else the tokenizer's, else the embedding's. */
static sp_status set_vocab_size(json_t *config, const sp_gguf *gguf, const char *path) {
    size_t n = 0;
    const sp_tensor *embedding = sp_tensor_table_find(&gguf->tensors, "token_embd.weight");
    if (embedding != NULL && embedding->n_dims == 2) n = embedding->shape[0];
    for (size_t i = 0; i < gguf->n_arrays; i++)
        if (strcmp(gguf->arrays[i].key, "tokenizer.ggml.tokens") == 0) n = gguf->arrays[i].n_items;
    SP_TRY(sp_json_get_size(&n, gguf->metadata, "llama.vocab_size", path));
    json_object_set_new(config, "vocab_size", json_integer((json_int_t)n));
    return SP_OK;
}

static void set_presence(json_t *config, const char *key, bool is_present) {
    json_object_set_new(config, key, json_boolean(is_present));
}

sp_status sp_gguf_make_config(json_t **config, const sp_gguf *gguf, const char *path) {
    SP_TRY(check_kind(gguf, path));
    json_t *made = json_pack("{s:s, s:[s], s:s}", "model_type", "llama", "architectures",
                             "LlamaForCausalLM", "hidden_act", "silu");
    sp_status status = made == NULL ? sp_fail(SP_FAILURE, "no memory") : SP_OK;
    if (status == SP_OK) status = copy_keys(made, gguf, path);
    if (status == SP_OK) status = set_head_dim(made, gguf, path);
    if (status == SP_OK) status = set_rope_scaling(made, gguf, path);
    if (status == SP_OK) status = set_vocab_size(made, gguf, path);
    if (status != SP_OK) {
        json_decref(made);
        return status;
    }
    const sp_tensor_table *tensors = &gguf->tensors;
    set_presence(made, "tie_word_embeddings",
                 sp_tensor_table_find(tensors, "output.weight") == NULL);
    set_presence(made, "attention_bias",
                 sp_tensor_table_find(tensors, "blk.0.attn_q.bias") != NULL);
    set_presence(made, "mlp_bias", sp_tensor_table_find(tensors, "blk.0.ffn_up.bias") != NULL);
    *config = made;
    return SP_OK;
}

/* "blk.12.attn_q.weight" in parts: the number's digits, and "attn_q" up to its end. False if the
   name is another. */
static bool split_layer_name(const char *name, int *n_digits, const char **part, size_t *part_len) {
    if (strncmp(name, "blk.", 4) != 0) return false;
    *n_digits = (int)strspn(name + 4, "0123456789");
    if (*n_digits == 0 || *n_digits > 9 || name[4 + *n_digits] != '.') return false;
    *part = name + 4 + *n_digits + 1;
    *part_len = strcspn(*part, ".");
    return strcmp(*part + *part_len, ".weight") == 0 || strcmp(*part + *part_len, ".bias") == 0;
}

/* Writes the Hugging Face name, or nothing: false. */
static bool make_name(char name[KEY_SIZE], const char *gguf_name) {
    for (size_t i = 0; i < N_WHOLE_NAMES; i++)
        if (strcmp(gguf_name, whole_names[i][0]) == 0) {
            snprintf(name, KEY_SIZE, "%s", whole_names[i][1]);
            return true;
        }
    int n_digits;
    const char *part;
    size_t part_len;
    if (!split_layer_name(gguf_name, &n_digits, &part, &part_len)) return false;
    for (size_t i = 0; i < N_LAYER_NAMES; i++)
        if (strlen(layer_names[i][0]) == part_len &&
            memcmp(layer_names[i][0], part, part_len) == 0) {
            snprintf(name, KEY_SIZE, "model.layers.%.*s.%s%s", n_digits, gguf_name + 4,
                     layer_names[i][1], part + part_len);
            return true;
        }
    return false;
}

/* Heads whose rows llama.cpp interleaves: those of q and k. */
static sp_status set_heads(sp_tensor *tensor, const char *name, size_t n_heads, size_t n_kv_heads,
                           const char *path) {
    const bool is_q = strstr(name, ".attn_q.weight") != NULL;
    const bool is_k = strstr(name, ".attn_k.weight") != NULL;
    if (!is_q && !is_k) return SP_OK;
    const size_t n = is_q ? n_heads : n_kv_heads;
    if (tensor->n_dims != 2 || n == 0 || tensor->shape[0] % n != 0 || tensor->shape[0] / n % 2 != 0)
        return sp_fail(SP_BAD_DATA, "'%s': the rows of tensor '%s' are not %zu even heads", path,
                       name, n);
    tensor->n_interleaved_heads = n;
    return SP_OK;
}

sp_status sp_gguf_rename_tensors(sp_gguf *gguf, const json_t *config, const char *path) {
    size_t n_heads = 0, n_kv_heads = 0;
    SP_TRY(sp_json_get_size(&n_heads, config, "num_attention_heads", path));
    n_kv_heads = n_heads;
    SP_TRY(sp_json_get_size(&n_kv_heads, config, "num_key_value_heads", path));
    for (size_t i = 0; i < gguf->tensors.n_entries; i++) {
        sp_named_tensor *entry = &gguf->tensors.entries[i];
        char name[KEY_SIZE];
        if (!make_name(name, entry->name)) continue;
        SP_TRY(set_heads(&entry->tensor, entry->name, n_heads, n_kv_heads, path));
        char *copy = strdup(name);
        if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the tensor name '%s'", name);
        free(entry->name);
        entry->name = copy;
    }
    if (sp_tensor_table_sort(&gguf->tensors) != SP_OK)
        return sp_fail(SP_BAD_DATA, "'%s': %s", path, sp_message());
    return SP_OK;
}
