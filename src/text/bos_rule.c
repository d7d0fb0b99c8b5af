#include "text/bos_rule.h"

#include <string.h>

static bool template_begins_special(const json_t *processor) {
    const char *type = json_string_value(json_object_get(processor, "type"));
    if (type == NULL || strcmp(type, "TemplateProcessing") != 0) return false;
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    return json_object_get(first, "SpecialToken") != NULL;
}

bool sp_tokenizer_adds_bos(const json_t *tokenizer_json) {
    const json_t *processor = json_object_get(tokenizer_json, "post_processor");
    if (template_begins_special(processor)) return true;
    const json_t *list = json_object_get(processor, "processors"); /* of a Sequence */
    size_t i;
    const json_t *one;
    json_array_foreach(list, i, one) if (template_begins_special(one)) return true;
    return false;
}
