#include "run/pcc_config.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* A member at SECTION.KEY. */
static const struct {
    const char *section, *key;
} told[] = {{"decoder", "boundaries"}, {"encoder", "memory"}, {"segment", "slots"}};

enum { N_TOLD = sizeof told / sizeof told[0] };

static json_t *make_ratios(const sp_count_list *ratios) {
    json_t *made = json_array();
    for (size_t i = 0; i < ratios->n_items; i++)
        json_array_append_new(made, json_integer((json_int_t)ratios->items[i]));
    return made;
}

json_t *sp_pcc_config_make(const sp_run_config *config) {
    json_t *dump = NULL;
    if (sp_config_dump(&dump, config, &sp_run_config_table) != SP_OK) return NULL;
    json_t *made = json_pack("{s:{}, s:{}, s:{s:o?, s:I}}", "decoder", "encoder", "segment",
                             "ratio", make_ratios(&config->segment.ratios), "tokens",
                             (json_int_t)config->segment.tokens);
    for (size_t i = 0; made != NULL && i < N_TOLD; i++)
        json_object_set(json_object_get(made, told[i].section), told[i].key,
                        json_object_get(json_object_get(dump, told[i].section), told[i].key));
    json_decref(dump);
    return made;
}

/* ---- checking ---- */

/* A value as a configuration has it, owned. */
static char *text_of(const json_t *value) {
    const char *text = json_string_value(value);
    return text != NULL ? strdup(text) : json_dumps(value, JSON_ENCODE_ANY);
}

static sp_status refuse(const char *where, const char *section, const char *key,
                        const json_t *asked, const json_t *trained) {
    char *a = text_of(asked), *b = text_of(trained);
    const sp_status status = a == NULL || b == NULL
                                 ? sp_fail(SP_FAILURE, "no memory for a message")
                                 : sp_fail(SP_USAGE, "%s.%s: %s, but '%s' was trained for %s",
                                           section, key, a, where, b);
    free(a);
    free(b);
    return status;
}

/* Each of the configuration's must be one of the compressor's. */
static sp_status check_ratios(const json_t *trained, const sp_count_list *ratios,
                              const char *where) {
    const json_t *ratio;
    size_t k;
    if (trained == NULL) return SP_OK;
    if (!json_is_array(trained))
        return sp_fail(SP_BAD_DATA, "'%s': segment.ratio is no list of counts", where);
    json_array_foreach((json_t *)trained, k, ratio) if (!json_is_integer(ratio)) return sp_fail(
        SP_BAD_DATA, "'%s': segment.ratio is no list of counts", where);
    for (size_t i = 0; i < ratios->n_items; i++) {
        bool is_trained = false;
        json_array_foreach((json_t *)trained, k, ratio) is_trained =
            is_trained || json_integer_value(ratio) == (json_int_t)ratios->items[i];
        if (is_trained) continue;
        json_t *asked = json_integer((json_int_t)ratios->items[i]);
        const sp_status status = refuse(where, "segment", "ratio", asked, trained);
        json_decref(asked);
        return status;
    }
    return SP_OK;
}

static sp_status check_told(const json_t *object, const json_t *here, const char *where) {
    for (size_t i = 0; i < N_TOLD; i++) {
        const json_t *asked = json_object_get(json_object_get(here, told[i].section), told[i].key);
        const json_t *trained =
            json_object_get(json_object_get(object, told[i].section), told[i].key);
        if (trained == NULL || json_equal(asked, trained)) continue;
        if (json_is_string(asked) != json_is_string(trained) ||
            json_is_boolean(asked) != json_is_boolean(trained))
            return sp_fail(SP_BAD_DATA, "'%s': %s.%s is of another type", where, told[i].section,
                           told[i].key);
        return refuse(where, told[i].section, told[i].key, asked, trained);
    }
    return SP_OK;
}

sp_status sp_pcc_config_check(const json_t *object, const sp_run_config *config,
                              const char *where) {
    if (!json_is_object(object)) return sp_fail(SP_BAD_DATA, "'%s': no JSON object", where);
    const json_t *segment = json_object_get(object, "segment");
    size_t n_tokens = config->segment.tokens;
    json_t *here = sp_pcc_config_make(config);
    if (here == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", where);
    sp_status status = sp_json_get_size(&n_tokens, segment, "tokens", where);
    if (status == SP_OK)
        status = check_ratios(json_object_get(segment, "ratio"), &config->segment.ratios, where);
    if (status == SP_OK) status = check_told(object, here, where);
    if (status == SP_OK && n_tokens != config->segment.tokens)
        sp_log(SP_LOG_WARNING, "segment.tokens: %zu, but '%s' was trained for %zu",
               config->segment.tokens, where, n_tokens);
    json_decref(here);
    return status;
}
