/* The part of sp_model_config_read() that reads rotary positions, with their scalings. */
#include "model/model_config.h"

#include <math.h>
#include <string.h>

/* What the readers of one file share: rope parameters stand in an object of their own, and partly
   beside it. */
typedef struct rope_reading {
    const json_t *json;    /* config.json */
    const json_t *scaling; /* its rope_parameters or rope_scaling, or NULL */
    const char *where;
} rope_reading;

/* A scaling may be null, or lie under either name; the older one wins, as in transformers. */
static sp_status find_scaling(rope_reading *reading) {
    const json_t *scaling = json_object_get(reading->json, "rope_scaling");
    if (scaling == NULL || json_is_null(scaling))
        scaling = json_object_get(reading->json, "rope_parameters");
    if (scaling == NULL || json_is_null(scaling)) return SP_OK;
    if (!json_is_object(scaling))
        return sp_fail(SP_BAD_DATA, "'%s': the rope parameters are not an object", reading->where);
    reading->scaling = scaling;
    return SP_OK;
}

static sp_status get_double(double *value, const rope_reading *reading, const char *key) {
    if (reading->scaling == NULL) return SP_OK;
    return sp_json_get_double(value, reading->scaling, key, reading->where);
}

/* Beside the scaling, as in Phi-3's files, or in it. */
static sp_status read_original_length(sp_model_config *config, const rope_reading *reading) {
    double length = (double)config->max_positions;
    SP_TRY(get_double(&length, reading, "original_max_position_embeddings"));
    SP_TRY(sp_json_get_double(&length, reading->json, "original_max_position_embeddings",
                              reading->where));
    if (!(length >= 1 && length <= UINT32_MAX))
        return sp_fail(SP_BAD_DATA,
                       "'%s': rope's 'original_max_position_embeddings' must be above 0",
                       reading->where);
    config->rope_scaling.original_max_position_embeddings = (size_t)length;
    return SP_OK;
}

static sp_status read_linear(sp_model_config *config, const rope_reading *reading) {
    sp_rope_scaling *scaling = &config->rope_scaling;
    SP_TRY(get_double(&scaling->factor, reading, "factor"));
    if (!(scaling->factor >= 1) || isinf(scaling->factor))
        return sp_fail(SP_BAD_DATA, "'%s': linear rope scaling needs a factor from 1",
                       reading->where);
    return SP_OK;
}

static sp_status read_llama3(sp_model_config *config, const rope_reading *reading) {
    sp_rope_scaling *scaling = &config->rope_scaling;
    SP_TRY(read_original_length(config, reading));
    SP_TRY(get_double(&scaling->factor, reading, "factor"));
    SP_TRY(get_double(&scaling->low_freq_factor, reading, "low_freq_factor"));
    SP_TRY(get_double(&scaling->high_freq_factor, reading, "high_freq_factor"));
    if (!(scaling->factor >= 1 && scaling->low_freq_factor > 0 &&
          scaling->high_freq_factor > scaling->low_freq_factor))
        return sp_fail(
            SP_BAD_DATA,
            "'%s': llama3 rope scaling needs a factor from 1, and high_freq_factor above "
            "low_freq_factor above 0",
            reading->where);
    return SP_OK;
}

/* As transformers: an attention_factor that is given wins; mscale only counts in a pair. */
static sp_status read_yarn_amplitude(sp_rope_scaling *scaling, const rope_reading *reading) {
    double given = 0, mscale = 0, mscale_all_dim = 0;
    SP_TRY(get_double(&given, reading, "attention_factor"));
    SP_TRY(get_double(&mscale, reading, "mscale"));
    SP_TRY(get_double(&mscale_all_dim, reading, "mscale_all_dim"));
    const double log_factor = 0.1 * log(scaling->factor);
    scaling->attention_factor = log_factor + 1;
    if (mscale != 0 && mscale_all_dim != 0)
        scaling->attention_factor = (mscale * log_factor + 1) / (mscale_all_dim * log_factor + 1);
    if (given != 0) scaling->attention_factor = given;
    return SP_OK;
}

static sp_status read_yarn(sp_model_config *config, const rope_reading *reading) {
    sp_rope_scaling *scaling = &config->rope_scaling;
    SP_TRY(read_original_length(config, reading));
    const double original = (double)scaling->original_max_position_embeddings;
    scaling->factor = (double)config->max_positions / original;
    scaling->beta_fast = 32;
    scaling->beta_slow = 1;
    scaling->is_truncated = true;
    SP_TRY(get_double(&scaling->factor, reading, "factor"));
    SP_TRY(get_double(&scaling->beta_fast, reading, "beta_fast"));
    SP_TRY(get_double(&scaling->beta_slow, reading, "beta_slow"));
    SP_TRY(sp_json_get_bool(&scaling->is_truncated, reading->scaling, "truncate", reading->where));
    if (!(scaling->factor >= 1 && scaling->beta_slow > 0 &&
          scaling->beta_fast > scaling->beta_slow) ||
        isinf(scaling->factor) || isinf(scaling->beta_fast))
        return sp_fail(SP_BAD_DATA,
                       "'%s': yarn rope scaling needs a factor from 1, and beta_fast "
                       "above beta_slow above 0",
                       reading->where);
    return read_yarn_amplitude(scaling, reading);
}

/* One factor for each frequency. */
static sp_status read_factors(float *factors, const sp_model_config *config,
                              const rope_reading *reading, const char *key) {
    const size_t n = config->rotary_dim / 2;
    const json_t *list = json_object_get(reading->scaling, key);
    if (!json_is_array(list) || json_array_size(list) != n || n > SP_LONGROPE_MOST)
        return sp_fail(SP_BAD_DATA,
                       "'%s': '%s' of longrope is not a list of %zu factors, %d at most",
                       reading->where, key, n, SP_LONGROPE_MOST);
    for (size_t i = 0; i < n; i++) {
        factors[i] = (float)json_number_value(json_array_get(list, i));
        if (!(factors[i] > 0) || isinf(factors[i])) /* so written, NaN is refused */
            return sp_fail(SP_BAD_DATA, "'%s': '%s' of longrope: factor %zu is not above 0",
                           reading->where, key, i);
    }
    return SP_OK;
}

static sp_status read_longrope(sp_model_config *config, const rope_reading *reading) {
    sp_rope_scaling *scaling = &config->rope_scaling;
    SP_TRY(read_original_length(config, reading));
    SP_TRY(read_factors(scaling->short_factor, config, reading, "short_factor"));
    SP_TRY(read_factors(scaling->long_factor, config, reading, "long_factor"));
    const double original = (double)scaling->original_max_position_embeddings;
    scaling->factor = (double)config->max_positions / original;
    SP_TRY(get_double(&scaling->factor, reading, "factor"));
    scaling->attention_factor =
        scaling->factor > 1 ? sqrt(1 + log(scaling->factor) / log(fmax(original, 2))) : 1;
    return get_double(&scaling->attention_factor, reading, "attention_factor");
}

static const struct {
    const char *name;
    sp_rope_kind kind;
    sp_status (*read)(sp_model_config *config, const rope_reading *reading);
} scalings[] = {
    {"linear", SP_ROPE_LINEAR, read_linear},
    {"llama3", SP_ROPE_LLAMA3, read_llama3},
    {"yarn", SP_ROPE_YARN, read_yarn},
    {"longrope", SP_ROPE_LONGROPE, read_longrope},
};

static sp_status read_scaling(sp_model_config *config, const rope_reading *reading) {
    const char *name = "default";
    SP_TRY(sp_json_get_string(&name, reading->scaling, "type", reading->where));
    SP_TRY(sp_json_get_string(&name, reading->scaling, "rope_type", reading->where));
    if (strcmp(name, "default") == 0) return SP_OK;
    /* Phi-3's first files call it by its working names. */
    if (config->family->has_partial_rotation &&
        (strcmp(name, "su") == 0 || strcmp(name, "yarn") == 0))
        name = "longrope";
    for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++) {
        if (strcmp(name, scalings[i].name) != 0) continue;
        config->rope_scaling.kind = scalings[i].kind;
        return scalings[i].read(config, reading);
    }
    return sp_fail(SP_BAD_DATA,
                   "'%s': rope scaling '%s' is not supported; supported: linear, llama3, yarn, "
                   "longrope",
                   reading->where, name);
}

static sp_status read_rotary_dim(sp_model_config *config, const rope_reading *reading) {
    double part = 1;
    SP_TRY(sp_json_get_double(&part, reading->json, "partial_rotary_factor", reading->where));
    SP_TRY(get_double(&part, reading, "partial_rotary_factor"));
    if (!(part > 0 && part <= 1) || (part != 1 && !config->family->has_partial_rotation))
        return sp_fail(SP_BAD_DATA,
                       "'%s': 'partial_rotary_factor' %g is not supported by family '%s'",
                       reading->where, part, config->family->name);
    config->rotary_dim = (size_t)((double)config->head_dim * part);
    if (config->rotary_dim < 2 || config->rotary_dim % 2 != 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s': head_dim %zu: %zu rotated values are not an even number "
                       "from 2",
                       reading->where, config->head_dim, config->rotary_dim);
    return SP_OK;
}

/* Older files: rope_theta beside rope_scaling, whose kind is "type" or "rope_type" and which may be
   null. Newer ones: rope_parameters holds all three. */
sp_status sp_model_config_read_rope(sp_model_config *config, const json_t *json,
                                    const char *where) {
    if (config->family->has_learned_positions) return SP_OK;
    rope_reading reading = {.json = json, .where = where};
    SP_TRY(find_scaling(&reading));
    config->rope_theta = 10000;
    SP_TRY(sp_json_get_double(&config->rope_theta, json, "rope_theta", where));
    SP_TRY(get_double(&config->rope_theta, &reading, "rope_theta"));
    if (!(config->rope_theta > 0) || isinf(config->rope_theta))
        return sp_fail(SP_BAD_DATA, "'%s': 'rope_theta' must be above 0", where);
    SP_TRY(read_rotary_dim(config, &reading));
    config->rope_scaling.attention_factor = 1;
    SP_TRY(reading.scaling != NULL ? read_scaling(config, &reading) : SP_OK);
    const double amplitude = config->rope_scaling.attention_factor;
    if (!(amplitude > 0) || isinf(amplitude))
        return sp_fail(SP_BAD_DATA, "'%s': a rope attention factor of %g", where, amplitude);
    return SP_OK;
}
