#include "text/pretokenizer.h"

#include <string.h>

/* GPT-2's words, ByteLevel's own pattern. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static sp_status add_step(sp_pretokenizer *pretokenizer, sp_pretokenizer_step step,
                          const char *name) {
    if (pretokenizer->n_steps == SP_PRETOKENIZER_STEPS) {
        sp_regex_destroy(step.regex);
        return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer has more than %d steps", name,
                       SP_PRETOKENIZER_STEPS);
    }
    pretokenizer->steps[pretokenizer->n_steps++] = step;
    return SP_OK;
}

static sp_status add_split(sp_pretokenizer *pretokenizer, const char *pattern, size_t pattern_len,
                           bool is_literal, sp_pretokenizer_step step, const char *name) {
    const sp_status status = sp_regex_create(&step.regex, pattern, pattern_len, is_literal);
    if (status != SP_OK) return sp_fail(status, "'%s': pre_tokenizer: %s", name, sp_message());
    return add_step(pretokenizer, step, name);
}

static sp_status read_behavior(sp_split_behavior *behavior, const json_t *object,
                               const char *name) {
    static const char *const names[] = {
        [SP_SPLIT_ISOLATED] = "Isolated",
        [SP_SPLIT_REMOVED] = "Removed",
        [SP_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [SP_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [SP_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    const char *value = "";
    SP_TRY(sp_json_get_string(&value, object, "behavior", name));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) {
            *behavior = (sp_split_behavior)i;
            return SP_OK;
        }
    return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: Split has no behavior '%s'", name, value);
}

static sp_status read_split(sp_pretokenizer *pretokenizer, const json_t *object, const char *name) {
    sp_pretokenizer_step step = {0};
    SP_TRY(read_behavior(&step.behavior, object, name));
    SP_TRY(sp_json_get_bool(&step.is_inverted, object, "invert", name));
    const json_t *pattern = json_object_get(object, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *value = regex != NULL ? regex : literal;
    if (!json_is_string(value))
        return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: Split's pattern is no Regex or String",
                       name);
    return add_split(pretokenizer, json_string_value(value), json_string_length(value),
                     regex == NULL, step, name);
}

static sp_status read_digits(sp_pretokenizer *pretokenizer, const json_t *object,
                             const char *name) {
    bool individual = false;
    SP_TRY(sp_json_get_bool(&individual, object, "individual_digits", name));
    const sp_pretokenizer_step step = {.behavior =
                                           individual ? SP_SPLIT_ISOLATED : SP_SPLIT_CONTIGUOUS};
    return add_split(pretokenizer, "\\p{N}", 5, false, step, name);
}

/* Adds a step that rewrites. Words are aligned with the text over one of them only. */
static sp_status add_rewriting(sp_pretokenizer *pretokenizer, const char *space,
                               sp_prefix_rule prefix, const char *name) {
    sp_pretokenizer_step step = {.prefix = prefix};
    if (pretokenizer->rewrites)
        return sp_fail(SP_BAD_DATA,
                       "'%s': pre_tokenizer: two components that put spaces in front (Metaspace, "
                       "ByteLevel) are not supported",
                       name);
    pretokenizer->rewrites = true;
    memcpy(step.space, space, strlen(space));
    return add_step(pretokenizer, step, name);
}

/* In files before prepend_scheme, add_prefix_space said always or never. */
static sp_status read_prefix_rule(sp_prefix_rule *rule, const json_t *object, const char *name) {
    static const char *const names[] = {
        [SP_PREFIX_NEVER] = "never", [SP_PREFIX_FIRST] = "first", [SP_PREFIX_ALWAYS] = "always"};
    bool adds_prefix_space = true;
    SP_TRY(sp_json_get_bool(&adds_prefix_space, object, "add_prefix_space", name));
    const char *value = adds_prefix_space ? "always" : "never";
    SP_TRY(sp_json_get_string(&value, object, "prepend_scheme", name));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) {
            *rule = (sp_prefix_rule)i;
            return SP_OK;
        }
    return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: Metaspace has no prepend_scheme '%s'", name,
                   value);
}

static sp_status read_metaspace(sp_pretokenizer *pretokenizer, const json_t *object,
                                const char *name) {
    const char *space = "";
    bool splits = true;
    uint32_t character;
    sp_prefix_rule prefix = SP_PREFIX_ALWAYS;
    SP_TRY(sp_json_get_string(&space, object, "replacement", name));
    SP_TRY(sp_json_get_bool(&splits, object, "split", name));
    SP_TRY(read_prefix_rule(&prefix, object, name));
    const size_t len = strlen(space);
    if (len == 0 || sp_utf8_decode(&character, space, len) != len)
        return sp_fail(SP_BAD_DATA,
                       "'%s': pre_tokenizer: Metaspace's replacement '%s' is not one character",
                       name, space);
    SP_TRY(add_rewriting(pretokenizer, space, prefix, name));
    if (!splits) return SP_OK;
    return add_split(pretokenizer, space, len, true,
                     (sp_pretokenizer_step){.behavior = SP_SPLIT_MERGED_WITH_NEXT}, name);
}

static sp_status read_byte_level(sp_pretokenizer *pretokenizer, const json_t *object,
                                 const char *name) {
    bool adds_prefix_space = true, use_regex = true;
    SP_TRY(sp_json_get_bool(&adds_prefix_space, object, "add_prefix_space", name));
    SP_TRY(sp_json_get_bool(&use_regex, object, "use_regex", name));
    pretokenizer->is_byte_level = true;
    if (adds_prefix_space) SP_TRY(add_rewriting(pretokenizer, " ", SP_PREFIX_ALWAYS, name));
    if (!use_regex) return SP_OK;
    return add_split(pretokenizer, gpt2_pattern, sizeof gpt2_pattern - 1, false,
                     (sp_pretokenizer_step){.behavior = SP_SPLIT_ISOLATED}, name);
}

static sp_status read_component(sp_pretokenizer *pretokenizer, const json_t *object,
                                const char *type, const char *name) {
    if (pretokenizer->is_byte_level)
        return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: '%s' after ByteLevel is not supported",
                       name, type);
    if (strcmp(type, "ByteLevel") == 0) return read_byte_level(pretokenizer, object, name);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(pretokenizer, object, name);
    if (strcmp(type, "Split") == 0) return read_split(pretokenizer, object, name);
    if (strcmp(type, "Digits") == 0) return read_digits(pretokenizer, object, name);
    return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer '%s' is not supported", name, type);
}

static sp_status read_components(sp_pretokenizer *pretokenizer, const json_t *object,
                                 const char *name) {
    const char *type = "without a type";
    if (object == NULL || json_is_null(object)) return SP_OK;
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    if (strcmp(type, "Sequence") != 0) return read_component(pretokenizer, object, type, name);
    const json_t *list = json_object_get(object, "pretokenizers"), *inner;
    if (!json_is_array(list))
        return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: a Sequence without 'pretokenizers'",
                       name);
    size_t i;
    json_array_foreach(list, i, inner) SP_TRY(read_components(pretokenizer, inner, name));
    return SP_OK;
}

sp_status sp_pretokenizer_read(sp_pretokenizer *pretokenizer, const json_t *object,
                               const char *name) {
    sp_pretokenizer result = {0};
    const sp_status status = read_components(&result, object, name);
    if (status == SP_OK)
        *pretokenizer = result;
    else
        sp_pretokenizer_free(&result);
    return status;
}

void sp_pretokenizer_free(sp_pretokenizer *pretokenizer) {
    for (size_t i = 0; i < pretokenizer->n_steps; i++)
        sp_regex_destroy(pretokenizer->steps[i].regex);
    *pretokenizer = (sp_pretokenizer){0};
}
