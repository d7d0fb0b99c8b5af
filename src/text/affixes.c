#include "text/affixes.h"

#include <stdbool.h>
#include <string.h>

/* Finds the TemplateProcessing, by itself or in a Sequence; *template stays NULL without one. The
   ByteLevel that often stands there changes offsets only. */
static sp_status find_template(const json_t **template, const json_t *processor, const char *name) {
    const char *type = "without a type";
    if (processor == NULL || json_is_null(processor)) return SP_OK;
    SP_TRY(sp_json_get_string(&type, processor, "type", name));
    if (strcmp(type, "ByteLevel") == 0) return SP_OK;
    if (strcmp(type, "TemplateProcessing") == 0 && *template == NULL) {
        *template = processor;
        return SP_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return sp_fail(SP_BAD_DATA, "'%s': post_processor '%s' is not supported%s", name, type,
                       *template != NULL ? " twice" : "");
    const json_t *list = json_object_get(processor, "processors"), *one;
    size_t i;
    json_array_foreach(list, i, one) SP_TRY(find_template(template, one, name));
    return SP_OK;
}

static sp_status add_ids(int32_t *ids, size_t *n, const json_t *template, const char *token,
                         const char *name) {
    const json_t *known = json_object_get(json_object_get(template, "special_tokens"), token);
    const json_t *list = json_object_get(known, "ids"), *id;
    size_t i;
    if (!json_is_array(list))
        return sp_fail(SP_BAD_DATA, "'%s': the post-processor's token '%s' has no ids", name,
                       token);
    json_array_foreach(list, i, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX || *n == SP_MOST_AFFIXES)
            return sp_fail(SP_BAD_DATA, "'%s': the post-processor's token '%s' has bad ids", name,
                           token);
        ids[(*n)++] = (int32_t)json_integer_value(id);
    }
    return SP_OK;
}

sp_status sp_affixes_read(sp_affixes *affixes, const json_t *tokenizer_json, const char *name) {
    sp_affixes made = {0};
    const json_t *template = NULL, *item;
    bool is_after = false;
    size_t i;
    SP_TRY(find_template(&template, json_object_get(tokenizer_json, "post_processor"), name));
    json_array_foreach(json_object_get(template, "single"), i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *token = json_string_value(json_object_get(special, "id"));
        if (token == NULL)
            is_after = true; /* the text's own place */
        else if (is_after)
            SP_TRY(add_ids(made.after, &made.n_after, template, token, name));
        else
            SP_TRY(add_ids(made.before, &made.n_before, template, token, name));
    }
    *affixes = made;
    return SP_OK;
}
