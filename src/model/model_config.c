#include "model/model_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Sizes past these are no model's, and keep every product of two far below 2^63. */
enum { MOST_SIZE = 1 << 20, MOST_VOCABULARY = 1 << 24 };

/* Key of what sp_model_config_cut() has left without a layer: in a file that is a mistake. */
static const char NO_LAYERS[] = "has_no_layers";

static sp_status refuse_family(const char *name, const char *where) {
    char names[128] = "";
    for (size_t i = 0, used = 0; i < sp_n_families && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 sp_families[i].name);
    return sp_fail(SP_BAD_DATA, "'%s': model_type '%s' is not supported; supported: %s", where,
                   name, names);
}

static sp_status read_family(sp_model_config *config, const json_t *json, const char *where) {
    const char *name = NULL;
    SP_TRY(sp_json_get_string(&name, json, "model_type", where));
    if (name == NULL) return sp_fail(SP_BAD_DATA, "'%s': no 'model_type'", where);
    const sp_family *family = config->family = sp_family_find(name);
    if (family == NULL) return refuse_family(name, where);
    const char *activation = family->activations[0];
    SP_TRY(sp_json_get_string(&activation, json, family->keys.activation, where));
    for (size_t i = 0; family->activations[i] != NULL; i++)
        if (strcmp(activation, family->activations[i]) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': activation '%s' is not supported by family '%s'", where,
                   activation, name);
}

/* Options that would change the arithmetic, and are in use nowhere. */
static sp_status refuse_options(const sp_model_config *config, const json_t *json,
                                const char *where) {
    static const struct {
        const char *key;
        bool usual;
    } options[] = {{"scale_attn_weights", true},
                   {"scale_attn_by_inverse_layer_idx", false},
                   {"add_cross_attention", false}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        bool value = options[i].usual;
        SP_TRY(sp_json_get_bool(&value, json, options[i].key, where));
        if (value != options[i].usual)
            return sp_fail(SP_BAD_DATA, "'%s': '%s' %s is not supported by family '%s'", where,
                           options[i].key, value ? "true" : "false", config->family->name);
    }
    return SP_OK;
}

static sp_status require_size(size_t *out, const json_t *json, const char *key, size_t most,
                              const char *where) {
    SP_TRY(sp_json_get_size(out, json, key, where));
    if (*out < 1 || *out > most)
        return sp_fail(SP_BAD_DATA, "'%s': '%s' must be from 1 to %zu", where, key, most);
    return SP_OK;
}

static sp_status read_heads(sp_model_config *config, const json_t *json, const char *where) {
    const sp_family *family = config->family;
    SP_TRY(require_size(&config->n_heads, json, family->keys.n_heads, MOST_SIZE, where));
    const json_t *kv_heads = json_object_get(json, "num_key_value_heads");
    const bool is_as_many = family->default_kv_heads == 0 || json_is_null(kv_heads);
    config->n_kv_heads = is_as_many ? config->n_heads : family->default_kv_heads;
    SP_TRY(sp_json_get_size(&config->n_kv_heads, json, "num_key_value_heads", where));
    if (config->n_kv_heads < 1 || config->n_heads % config->n_kv_heads != 0)
        return sp_fail(SP_BAD_DATA, "'%s': %zu attention heads cannot share %zu key-value heads",
                       where, config->n_heads, config->n_kv_heads);
    config->head_dim = config->d_model / config->n_heads;
    SP_TRY(sp_json_get_size(&config->head_dim, json, "head_dim", where));
    if (config->head_dim < 1 || config->head_dim > MOST_SIZE)
        return sp_fail(SP_BAD_DATA, "'%s': head_dim %zu is not from 1 to %d", where,
                       config->head_dim, MOST_SIZE);
    if (family->has_learned_positions && sp_q_width(config) != config->d_model)
        return sp_fail(SP_BAD_DATA, "'%s': %zu heads do not divide %zu values", where,
                       config->n_heads, config->d_model);
    return SP_OK;
}

static sp_status read_sizes(sp_model_config *config, const json_t *json, const char *where) {
    const sp_family *family = config->family;
    SP_TRY(require_size(&config->d_model, json, family->keys.d_model, MOST_SIZE, where));
    if (json_is_true(json_object_get(json, NO_LAYERS)))
        config->n_layers = 0;
    else
        SP_TRY(require_size(&config->n_layers, json, family->keys.n_layers, SP_MOST_LAYERS, where));
    if (!family->is_gated) config->d_ffn = 4 * config->d_model; /* GPT-2's, unless it says more */
    SP_TRY(require_size(&config->d_ffn, json, family->keys.d_ffn, 4 * MOST_SIZE, where));
    SP_TRY(require_size(&config->vocab_size, json, "vocab_size", MOST_VOCABULARY, where));
    config->max_positions = family->default_max_positions;
    SP_TRY(require_size(&config->max_positions, json, family->keys.max_positions, UINT32_MAX / 4,
                        where));
    SP_TRY(read_heads(config, json, where));
    config->norm_eps = family->default_norm_eps;
    SP_TRY(sp_json_get_double(&config->norm_eps, json, family->keys.norm_eps, where));
    if (!(config->norm_eps > 0 && config->norm_eps < 1))
        return sp_fail(SP_BAD_DATA, "'%s': '%s' must be between 0 and 1", where,
                       family->keys.norm_eps);
    const json_t *tie = json_object_get(json, "tie_word_embeddings");
    config->may_tie_word_embeddings = tie == NULL || json_is_null(tie);
    config->tie_word_embeddings = family->default_tie_word_embeddings;
    return sp_json_get_bool(&config->tie_word_embeddings, json, "tie_word_embeddings", where);
}

static sp_status read_biases(sp_model_config *config, const json_t *json, const char *where) {
    const sp_family *family = config->family;
    bool in_attention = false, in_ffn = false;
    SP_TRY(sp_json_get_bool(&in_attention, json, "attention_bias", where));
    SP_TRY(sp_json_get_bool(&in_ffn, json, "mlp_bias", where));
    if ((in_attention || in_ffn) && !family->may_have_bias)
        return sp_fail(SP_BAD_DATA, "'%s': '%s' is not supported by family '%s'", where,
                       in_attention ? "attention_bias" : "mlp_bias", family->name);
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        config->has_bias[role] =
            family->has_bias[role] || (role <= SP_ROLE_O ? in_attention : in_ffn);
    return SP_OK;
}

/* Newer files list each layer's kind. */
static sp_status read_layer_types(sp_model_config *config, const json_t *list, const char *where) {
    if (!json_is_array(list) || json_array_size(list) != config->n_layers)
        return sp_fail(SP_BAD_DATA, "'%s': 'layer_types' is not a list of %zu", where,
                       config->n_layers);
    for (size_t l = 0; l < config->n_layers; l++) {
        const char *type = json_string_value(json_array_get(list, l));
        config->has_window[l] = type != NULL && strcmp(type, "sliding_attention") == 0;
        if (!config->has_window[l] && (type == NULL || strcmp(type, "full_attention") != 0))
            return sp_fail(SP_BAD_DATA, "'%s': layer type '%s' is not supported", where,
                           type != NULL ? type : "null");
    }
    return SP_OK;
}

static sp_status read_window(sp_model_config *config, const json_t *json, const char *where) {
    const sp_family *family = config->family;
    const json_t *types = json_object_get(json, "layer_types");
    bool is_used = family->window_rule == SP_WINDOW_ALWAYS;
    size_t first_layer = family->window_rule == SP_WINDOW_IF_USED ? 28 : 0; /* Qwen2's default */
    if (family->window_rule == SP_WINDOW_IF_USED) {
        SP_TRY(sp_json_get_bool(&is_used, json, "use_sliding_window", where));
        SP_TRY(sp_json_get_size(&first_layer, json, "max_window_layers", where));
    }
    if (!is_used || json_is_null(json_object_get(json, "sliding_window"))) return SP_OK;
    config->window = family->default_window;
    SP_TRY(sp_json_get_size(&config->window, json, "sliding_window", where));
    if (config->window == 0) return SP_OK;
    for (size_t l = 0; l < config->n_layers; l++) config->has_window[l] = l >= first_layer;
    if (family->window_rule == SP_WINDOW_ALWAYS || types == NULL || json_is_null(types))
        return SP_OK;
    return read_layer_types(config, types, where);
}

/* A token id, or the first of a list of them. */
static sp_status read_token(int32_t *id, const json_t *json, const char *key, size_t vocab_size,
                            const char *where) {
    *id = SP_NO_TOKEN;
    const json_t *value = json_object_get(json, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (value == NULL || json_is_null(value)) return SP_OK;
    if (!json_is_integer(value))
        return sp_fail(SP_BAD_DATA, "'%s': '%s' is not a token id", where, key);
    const json_int_t number = json_integer_value(value);
    if (number < 0) return SP_OK; /* -1 stands for none in some files */
    if ((uint64_t)number >= vocab_size)
        return sp_fail(SP_BAD_DATA, "'%s': '%s' is %lld, beyond the vocabulary of %zu", where, key,
                       (long long)number, vocab_size);
    *id = (int32_t)number;
    return SP_OK;
}

sp_status sp_model_config_read(sp_model_config *config, const json_t *json, const char *where) {
    sp_model_config made = {0};
    if (!json_is_object(json)) return sp_fail(SP_BAD_DATA, "'%s': not a JSON object", where);
    SP_TRY(read_family(&made, json, where));
    SP_TRY(refuse_options(&made, json, where));
    SP_TRY(read_sizes(&made, json, where));
    SP_TRY(read_biases(&made, json, where));
    SP_TRY(read_window(&made, json, where));
    SP_TRY(sp_model_config_read_rope(&made, json, where));
    SP_TRY(read_token(&made.bos_token_id, json, "bos_token_id", made.vocab_size, where));
    SP_TRY(read_token(&made.eos_token_id, json, "eos_token_id", made.vocab_size, where));
    *config = made;
    return SP_OK;
}

static size_t role_width(const sp_model_config *config, sp_role role) {
    switch (role) {
    case SP_ROLE_Q:
        return sp_q_width(config);
    case SP_ROLE_K:
    case SP_ROLE_V:
        return sp_kv_width(config);
    case SP_ROLE_GATE:
    case SP_ROLE_UP:
        return config->d_ffn;
    default:
        return config->d_model;
    }
}

sp_status sp_model_config_cut(json_t *json, size_t n_layers, const char *where) {
    sp_model_config config;
    SP_TRY(sp_model_config_read(&config, json, where));
    if (n_layers > config.n_layers)
        return sp_fail(SP_USAGE, "%zu layers of '%s', which has %zu", n_layers, where,
                       config.n_layers);
    json_t *kinds = json_object_get(json, "layer_types"); /* one a layer, where there are any */
    while (json_array_size(kinds) > n_layers) json_array_remove(kinds, n_layers);
    int failed =
        json_object_set_new(json, config.family->keys.n_layers, json_integer((json_int_t)n_layers));
    if (n_layers == 0) failed |= json_object_set_new(json, NO_LAYERS, json_true());
    if (failed == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for a configuration");
}

size_t sp_matrix_n_out(const sp_model_config *config, sp_role role) {
    size_t n_out = 0;
    for (sp_role part = 0; part < SP_N_ROLES; part++)
        if (config->family->matrix_of[part] == role) n_out += role_width(config, part);
    return n_out;
}

size_t sp_matrix_n_in(const sp_model_config *config, sp_role role) {
    switch (role) {
    case SP_ROLE_O:
        return sp_q_width(config);
    case SP_ROLE_DOWN:
        return config->d_ffn;
    default:
        return config->d_model;
    }
}

size_t sp_longrope_switch(const sp_model_config *config) {
    return config->rope_scaling.kind == SP_ROPE_LONGROPE
               ? config->rope_scaling.original_max_position_embeddings
               : 0;
}
