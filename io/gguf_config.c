#include "io/gguf_config.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A field of the metadata, behind "ARCHITECTURE.", that has a key in config.json. */
typedef struct key {
    const char *gguf, *config;
    bool is_needed;
} key;

static const key rotary_keys[] = {
    {"embedding_length", "hidden_size", true},
    {"block_count", "num_hidden_layers", true},
    {"attention.head_count", "num_attention_heads", true},
    {"attention.head_count_kv", "num_key_value_heads", false},
    {"feed_forward_length", "intermediate_size", true},
    {"context_length", "max_position_embeddings", false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    {"rope.freq_base", "rope_theta", false},
    {NULL, NULL, false},
};
static const key gpt2_keys[] = {
    {"embedding_length", "n_embd", true},
    {"block_count", "n_layer", true},
    {"attention.head_count", "n_head", true},
    {"feed_forward_length", "n_inner", false},
    {"context_length", "n_positions", true},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon", true},
    {NULL, NULL, false},
};

/* Members of rope_scaling: of longrope, and of all others as llama.cpp's converter takes them from
   there. */
static const key longrope_keys[] = {
    {"rope.scaling.original_context_length", "original_max_position_embeddings", false},
    {"rope.scaling.attn_factor", "attention_factor", false},
    {NULL, NULL, false},
};
static const key scaling_keys[] = {
    {"rope.scaling.factor", "factor", false},
    {"rope.scaling.original_context_length", "original_max_position_embeddings", false},
    {"rope.scaling.yarn_attn_factor", "attention_factor", false},
    {"rope.scaling.yarn_ext_factor", "extrapolation_factor", false},
    {"rope.scaling.yarn_beta_fast", "beta_fast", false},
    {"rope.scaling.yarn_beta_slow", "beta_slow", false},
    {NULL, NULL, false},
};

/* The two names of an architecture, GGUF's and config.json's model_type, are the same. */
typedef struct family {
    const char *name, *class_name, *activation_key, *activation;
    const key *keys;
    bool is_rotary;          /* else positions are learned */
    bool may_rotate_part;    /* of each head */
    bool tells_whether_bias; /* in config.json; the others have theirs always */
} family;

/* clang-format off */
static const family families[] = {
    {"llama", "LlamaForCausalLM", "hidden_act",          "silu",     rotary_keys, true,  false, true},
    {"gpt2",  "GPT2LMHeadModel",  "activation_function", "gelu_new", gpt2_keys,   false, false, false},
    {"qwen2", "Qwen2ForCausalLM", "hidden_act",          "silu",     rotary_keys, true,  false, false},
    {"phi3",  "Phi3ForCausalLM",  "hidden_act",          "silu",     rotary_keys, true,  true,  true},
};
/* clang-format on */
enum { N_FAMILIES = sizeof families / sizeof families[0], KEY_SIZE = 96 };

/* What a configuration is made from. */
typedef struct source {
    const sp_gguf *gguf;
    const family *family;
    const char *path;
} source;

static const sp_tensor *find_tensor(const source *from, const char *name) {
    return sp_tensor_table_find(&from->gguf->tensors, name);
}

static sp_status refuse_architecture(const char *name, const char *path) {
    char supported[64] = "";
    size_t n = 0;
    for (size_t i = 0; i < N_FAMILIES; i++)
        n += (size_t)snprintf(supported + n, sizeof supported - n, "%s%s", i == 0 ? "" : ", ",
                              families[i].name);
    return sp_fail(SP_BAD_DATA, "'%s': architecture '%s' is not supported; supported: %s", path,
                   name, supported);
}

static sp_status find_family(source *from) {
    const char *name = NULL;
    SP_TRY(sp_json_get_string(&name, from->gguf->metadata, "general.architecture", from->path));
    if (name == NULL) return sp_fail(SP_BAD_DATA, "'%s': no 'general.architecture'", from->path);
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(name, families[i].name) == 0) from->family = &families[i];
    return from->family == NULL ? refuse_architecture(name, from->path) : SP_OK;
}

/* Writes "ARCHITECTURE.name", unless what it names is an array. */
static sp_status make_key(char whole[KEY_SIZE], const source *from, const char *name) {
    snprintf(whole, KEY_SIZE, "%s.%s", from->family->name, name);
    if (!json_is_null(json_object_get(from->gguf->metadata, whole))) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': '%s' is an array; layers that differ are not supported",
                   from->path, whole);
}

static sp_status get_size(size_t *out, const source *from, const char *name) {
    char whole[KEY_SIZE];
    SP_TRY(make_key(whole, from, name));
    return sp_json_get_size(out, from->gguf->metadata, whole, from->path);
}

static sp_status check_kind(const source *from) {
    size_t n_files = 1, n_experts = 0;
    SP_TRY(sp_json_get_size(&n_files, from->gguf->metadata, "split.count", from->path));
    if (n_files > 1)
        return sp_fail(SP_BAD_DATA,
                       "'%s': is one of %zu parts; join them with llama.cpp's gguf-split --merge",
                       from->path, n_files);
    SP_TRY(get_size(&n_experts, from, "expert_count"));
    if (n_experts > 0)
        return sp_fail(SP_BAD_DATA, "'%s': a mixture of %zu experts is not supported", from->path,
                       n_experts);
    return SP_OK;
}

/* Jansson refuses what it has no memory for. */
static sp_status set_new(json_t *object, const char *name, json_t *value, const source *from) {
    if (json_object_set_new(object, name, value) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "'%s': no memory for its configuration", from->path);
}

static sp_status set_size(json_t *object, const char *name, size_t n, const source *from) {
    return set_new(object, name, json_integer((json_int_t)n), from);
}

static sp_status set_bool(json_t *object, const char *name, bool value, const source *from) {
    return set_new(object, name, json_boolean(value), from);
}

static sp_status copy_key(json_t *object, const char *name, const char *whole, bool is_needed,
                          const source *from) {
    json_t *value = json_object_get(from->gguf->metadata, whole);
    if (value != NULL) return set_new(object, name, json_incref(value), from);
    return is_needed ? sp_fail(SP_BAD_DATA, "'%s': no '%s'", from->path, whole) : SP_OK;
}

static sp_status copy_keys(json_t *object, const key *keys, const source *from) {
    for (; keys->gguf != NULL; keys++) {
        char whole[KEY_SIZE];
        SP_TRY(make_key(whole, from, keys->gguf));
        SP_TRY(copy_key(object, keys->config, whole, keys->is_needed, from));
    }
    return SP_OK;
}

static sp_status copy_token_ids(json_t *config, const source *from) {
    SP_TRY(copy_key(config, "bos_token_id", "tokenizer.ggml.bos_token_id", false, from));
    return copy_key(config, "eos_token_id", "tokenizer.ggml.eos_token_id", false, from);
}

/* The metadata's own count, else the tokenizer's, else the embedding's. */
static sp_status set_vocab_size(json_t *config, const source *from) {
    size_t n = 0;
    const sp_tensor *embedding = find_tensor(from, "token_embd.weight");
    if (embedding != NULL && embedding->n_dims == 2) n = embedding->shape[0];
    for (size_t i = 0; i < from->gguf->n_arrays; i++)
        if (strcmp(from->gguf->arrays[i].key, "tokenizer.ggml.tokens") == 0)
            n = from->gguf->arrays[i].n_items;
    SP_TRY(get_size(&n, from, "vocab_size"));
    return set_size(config, "vocab_size", n, from);
}

/* The share of a head that is rotated, such that n_rotated is its product with head_dim cut to a
   whole number, as transformers reckons: 2 / 98 * 98 is just below 2. */
static double share(size_t n_rotated, size_t head_dim) {
    const double factor = (double)n_rotated / (double)head_dim;
    return factor * (double)head_dim < (double)n_rotated ? nextafter(factor, 1) : factor;
}

/* Keys and values must have one width; each length may be left out. */
static sp_status set_head_dim(json_t *config, size_t *n_rotated, const source *from) {
    size_t d_model = 0, n_heads = 0, head_dim = 0, n_values = 0;
    SP_TRY(get_size(&d_model, from, "embedding_length"));
    SP_TRY(get_size(&n_heads, from, "attention.head_count"));
    if (n_heads > 0) head_dim = d_model / n_heads;
    SP_TRY(get_size(&head_dim, from, "attention.key_length"));
    n_values = *n_rotated = head_dim;
    SP_TRY(get_size(&n_values, from, "attention.value_length"));
    SP_TRY(get_size(n_rotated, from, "rope.dimension_count"));
    const bool fits = from->family->may_rotate_part ? *n_rotated <= head_dim && *n_rotated > 0
                                                    : *n_rotated == head_dim;
    if (n_values != head_dim || !fits)
        return sp_fail(SP_BAD_DATA,
                       "'%s': heads of %zu keys, %zu values and %zu rotated are not supported; "
                       "keys and values must agree, and %s",
                       from->path, head_dim, n_values, *n_rotated,
                       from->family->may_rotate_part ? "some or all are rotated"
                                                     : "all are rotated");
    if (*n_rotated < head_dim)
        SP_TRY(
            set_new(config, "partial_rotary_factor", json_real(share(*n_rotated, head_dim)), from));
    return set_size(config, "head_dim", head_dim, from);
}

/* 0 stands for no window; null, so that no default takes its place. */
static sp_status set_window(json_t *config, const source *from) {
    size_t n = 0;
    SP_TRY(get_size(&n, from, "attention.sliding_window"));
    return n == 0 ? set_new(config, "sliding_window", json_null(), from)
                  : set_size(config, "sliding_window", n, from);
}

/* n may be 0, which no dimension of a GGUF file's tensor is. */
static sp_status set_factors(json_t *scaling, const char *name, const char *tensor_name, size_t n,
                             const source *from) {
    const sp_tensor *tensor = find_tensor(from, tensor_name);
    if (tensor == NULL || tensor->n_dims != 1 || tensor->shape[0] != n)
        return sp_fail(SP_BAD_DATA, "'%s': no tensor '%s' of %zu values, a factor for each angle",
                       from->path, tensor_name, n);
    float *values = calloc(n, sizeof *values);
    json_t *factors = json_array();
    sp_status status = values == NULL || factors == NULL
                           ? sp_fail(SP_FAILURE, "no memory for '%s'", tensor_name)
                           : SP_OK;
    if (status == SP_OK) sp_tensor_read_rows(tensor, values, 0, 1);
    for (size_t i = 0; status == SP_OK && i < n; i++)
        if (!(values[i] > 0) || isinf(values[i]))
            status = sp_fail(SP_BAD_DATA, "'%s': '%s' holds %g", from->path, tensor_name,
                             (double)values[i]);
        else if (json_array_append_new(factors, json_real((double)values[i])) != 0)
            status = sp_fail(SP_FAILURE, "no memory for '%s'", tensor_name);
    if (status == SP_OK) status = set_new(scaling, name, json_incref(factors), from);
    json_decref(factors);
    free(values);
    return status;
}

static sp_status set_rope_scaling(json_t *config, size_t n_rotated, const source *from) {
    static const char *const short_name = "rope_factors_short.weight";
    static const char *const long_name = "rope_factors_long.weight";
    const json_t *metadata = from->gguf->metadata;
    char whole[KEY_SIZE];
    const char *type = "none";
    double linear_factor = 1; /* all that older files say */
    SP_TRY(make_key(whole, from, "rope.scaling.type"));
    SP_TRY(sp_json_get_string(&type, metadata, whole, from->path));
    SP_TRY(make_key(whole, from, "rope.scale_linear"));
    SP_TRY(sp_json_get_double(&linear_factor, metadata, whole, from->path));
    if (linear_factor != 1) type = "linear";
    /* Files of Phi-3 have the tensors and name no type. */
    const bool has_factors =
        find_tensor(from, short_name) != NULL || find_tensor(from, long_name) != NULL;
    if (has_factors) type = "longrope";
    if (strcmp(type, "none") == 0) return set_new(config, "rope_scaling", json_null(), from);

    json_t *scaling = json_pack("{s:s}", "rope_type", type);
    SP_TRY(set_new(config, "rope_scaling", scaling, from)); /* which owns it from here on */
    if (linear_factor != 1) SP_TRY(set_new(scaling, "factor", json_real(linear_factor), from));
    if (!has_factors) return copy_keys(scaling, scaling_keys, from);
    SP_TRY(copy_keys(scaling, longrope_keys, from));
    SP_TRY(set_factors(scaling, "short_factor", short_name, n_rotated / 2, from));
    return set_factors(scaling, "long_factor", long_name, n_rotated / 2, from);
}

static sp_status set_rotary(json_t *config, const source *from) {
    size_t n_rotated = 0;
    SP_TRY(set_head_dim(config, &n_rotated, from));
    SP_TRY(set_window(config, from));
    return set_rope_scaling(config, n_rotated, from);
}

/* Told by the first layer. */
static sp_status set_biases(json_t *config, const source *from) {
    const bool attention = find_tensor(from, "blk.0.attn_q.bias") != NULL ||
                           find_tensor(from, "blk.0.attn_qkv.bias") != NULL;
    SP_TRY(set_bool(config, "attention_bias", attention, from));
    return set_bool(config, "mlp_bias", find_tensor(from, "blk.0.ffn_up.bias") != NULL, from);
}

static sp_status fill_config(json_t *config, const source *from) {
    SP_TRY(check_kind(from));
    SP_TRY(copy_keys(config, from->family->keys, from));
    SP_TRY(copy_token_ids(config, from));
    SP_TRY(set_vocab_size(config, from));
    if (from->family->is_rotary) SP_TRY(set_rotary(config, from));
    if (from->family->tells_whether_bias) SP_TRY(set_biases(config, from));
    return set_bool(config, "tie_word_embeddings", find_tensor(from, "output.weight") == NULL,
                    from);
}

sp_status sp_gguf_make_config(json_t **config, const sp_gguf *gguf, const char *path) {
    source from = {.gguf = gguf, .path = path};
    SP_TRY(find_family(&from));
    const family *found = from.family;
    json_t *made = json_pack("{s:s, s:[s], s:s}", "model_type", found->name, "architectures",
                             found->class_name, found->activation_key, found->activation);
    const sp_status status =
        made == NULL ? sp_fail(SP_FAILURE, "no memory for '%s'", path) : fill_config(made, &from);
    if (status == SP_OK)
        *config = made;
    else
        json_decref(made);
    return status;
}
