#include "model/model_config.h"

#include <math.h>
#include <string.h>

/* Families whose layers are: RMSNorm, rotary attention without bias, SwiGLU. */
static const char *const families[] = {"llama"};

/* Sizes past these are no model's, and keep every product of two far below 2^63. */
enum { MOST_SIZE = 1 << 20, MOST_LAYERS = 1 << 10, MOST_VOCABULARY = 1 << 24 };

static sp_status read_family(sp_model_config *config, const json_t *json, const char *where) {
    const char *name = NULL, *activation = "silu";
    SP_TRY(sp_json_get_string(&name, json, "model_type", where));
    if (name == NULL) return sp_fail(SP_BAD_DATA, "'%s': no 'model_type'", where);
    config->family = NULL;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(name, families[i]) == 0) config->family = families[i];
    if (config->family == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': model_type '%s' is not supported; supported: llama",
                       where, name);
    SP_TRY(sp_json_get_string(&activation, json, "hidden_act", where));
    if (strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0)
        return sp_fail(SP_BAD_DATA, "'%s': activation '%s' is not supported by family '%s'", where,
                       activation, name);
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < sizeof biases / sizeof biases[0]; i++) {
        bool has_bias = false;
        SP_TRY(sp_json_get_bool(&has_bias, json, biases[i], where));
        if (has_bias)
            return sp_fail(SP_BAD_DATA, "'%s': '%s' is not supported by family '%s'", where,
                           biases[i], name);
    }
    return SP_OK;
}

static sp_status require_size(size_t *out, const json_t *json, const char *key, size_t most,
                              const char *where) {
    *out = 0;
    SP_TRY(sp_json_get_size(out, json, key, where));
    if (*out < 1 || *out > most)
        return sp_fail(SP_BAD_DATA, "'%s': '%s' must be from 1 to %zu", where, key, most);
    return SP_OK;
}

static sp_status read_sizes(sp_model_config *config, const json_t *json, const char *where) {
    SP_TRY(require_size(&config->d_model, json, "hidden_size", MOST_SIZE, where));
    SP_TRY(require_size(&config->n_layers, json, "num_hidden_layers", MOST_LAYERS, where));
    SP_TRY(require_size(&config->n_heads, json, "num_attention_heads", MOST_SIZE, where));
    SP_TRY(require_size(&config->d_ffn, json, "intermediate_size", MOST_SIZE, where));
    SP_TRY(require_size(&config->vocab_size, json, "vocab_size", MOST_VOCABULARY, where));
    config->max_positions = 2048; /* transformers' default for Llama */
    SP_TRY(sp_json_get_size(&config->max_positions, json, "max_position_embeddings", where));
    if (config->max_positions < 1)
        return sp_fail(SP_BAD_DATA, "'%s': 'max_position_embeddings' must be above 0", where);

    config->n_kv_heads = config->n_heads;
    SP_TRY(sp_json_get_size(&config->n_kv_heads, json, "num_key_value_heads", where));
    if (config->n_kv_heads < 1 || config->n_heads % config->n_kv_heads != 0)
        return sp_fail(SP_BAD_DATA, "'%s': %zu attention heads cannot share %zu key-value heads",
                       where, config->n_heads, config->n_kv_heads);
    config->head_dim = config->d_model / config->n_heads;
    SP_TRY(sp_json_get_size(&config->head_dim, json, "head_dim", where));
    if (config->head_dim < 2 || config->head_dim % 2 != 0 || config->head_dim > MOST_SIZE)
        return sp_fail(SP_BAD_DATA, "'%s': head_dim %zu is not an even number from 2", where,
                       config->head_dim);
    config->norm_eps = 1e-6;
    SP_TRY(sp_json_get_double(&config->norm_eps, json, "rms_norm_eps", where));
    if (!(config->norm_eps > 0 && config->norm_eps < 1))
        return sp_fail(SP_BAD_DATA, "'%s': 'rms_norm_eps' must be between 0 and 1", where);
    SP_TRY(sp_json_get_bool(&config->tie_word_embeddings, json, "tie_word_embeddings", where));
    return SP_OK;
}

static sp_status read_llama3_scaling(sp_model_config *config, const json_t *scaling,
                                     const char *where) {
    double factor = 0, low = 0, high = 0, original = 0;
    SP_TRY(sp_json_get_double(&factor, scaling, "factor", where));
    SP_TRY(sp_json_get_double(&low, scaling, "low_freq_factor", where));
    SP_TRY(sp_json_get_double(&high, scaling, "high_freq_factor", where));
    SP_TRY(sp_json_get_double(&original, scaling, "original_max_position_embeddings", where));
    if (!(factor >= 1 && low > 0 && high > low && original >= 1 && original < 0x1p53))
        return sp_fail(
            SP_BAD_DATA,
            "'%s': llama3 rope scaling needs factor, low_freq_factor, high_freq_factor and "
            "original_max_position_embeddings",
            where);
    config->has_rope_scaling = true;
    config->rope_scaling = (sp_rope_llama3){.factor = factor,
                                            .low_freq_factor = low,
                                            .high_freq_factor = high,
                                            .original_max_position_embeddings = (size_t)original};
    return SP_OK;
}

/* Older files: rope_theta beside rope_scaling, whose kind is "type" or "rope_type" and which may be
   null. Newer ones: rope_parameters holds all three. */
static sp_status read_rope(sp_model_config *config, const json_t *json, const char *where) {
    config->rope_theta = 10000;
    SP_TRY(sp_json_get_double(&config->rope_theta, json, "rope_theta", where));
    const json_t *scaling = json_object_get(json, "rope_parameters");
    if (scaling == NULL || json_is_null(scaling)) scaling = json_object_get(json, "rope_scaling");
    if (scaling != NULL && !json_is_null(scaling)) {
        if (!json_is_object(scaling))
            return sp_fail(SP_BAD_DATA, "'%s': the rope parameters are not an object", where);
        const char *kind = "default";
        SP_TRY(sp_json_get_string(&kind, scaling, "type", where));
        SP_TRY(sp_json_get_string(&kind, scaling, "rope_type", where));
        SP_TRY(sp_json_get_double(&config->rope_theta, scaling, "rope_theta", where));
        if (strcmp(kind, "llama3") == 0)
            SP_TRY(read_llama3_scaling(config, scaling, where));
        else if (strcmp(kind, "default") != 0)
            return sp_fail(SP_BAD_DATA, "'%s': rope scaling '%s' is not supported", where, kind);
    }
    if (!(config->rope_theta > 0) || isinf(config->rope_theta))
        return sp_fail(SP_BAD_DATA, "'%s': 'rope_theta' must be above 0", where);
    return SP_OK;
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
    SP_TRY(read_sizes(&made, json, where));
    SP_TRY(read_rope(&made, json, where));
    SP_TRY(read_token(&made.bos_token_id, json, "bos_token_id", made.vocab_size, where));
    SP_TRY(read_token(&made.eos_token_id, json, "eos_token_id", made.vocab_size, where));
    *config = made;
    return SP_OK;
}
