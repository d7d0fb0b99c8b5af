#include "text/normalizer.h"

#include <stdlib.h>
#include <string.h>

static sp_status read_prefix(sp_normalizer_step *step, const json_t *object, const char *name) {
    const char *prefix = NULL;
    SP_TRY(sp_json_get_string(&prefix, object, "prepend", name));
    if (prefix == NULL) return sp_fail(SP_BAD_DATA, "'%s': Prepend has no 'prepend'", name);
    step->prefix_len = strlen(prefix);
    step->prefix = strdup(prefix);
    return step->prefix != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a prefix");
}

static sp_status read_step(sp_normalizer *normalizer, const json_t *object, const char *type,
                           const char *name) {
    if (normalizer->n_steps == SP_NORMALIZER_STEPS)
        return sp_fail(SP_BAD_DATA, "'%s': normalizer has more than %d steps", name,
                       SP_NORMALIZER_STEPS);
    sp_normalizer_step *step = &normalizer->steps[normalizer->n_steps++];
    if (strcmp(type, "NFC") == 0) {
        step->kind = SP_NORMALIZER_NFC;
        return SP_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        step->kind = SP_NORMALIZER_PREPEND;
        return read_prefix(step, object, name);
    }
    if (strcmp(type, "Replace") == 0) {
        step->kind = SP_NORMALIZER_REPLACE;
        return sp_replacement_read(&step->replacement, object, name);
    }
    return sp_fail(SP_BAD_DATA, "'%s': normalizer '%s' is not supported", name, type);
}

static sp_status read_steps(sp_normalizer *normalizer, const json_t *object, const char *name) {
    const char *type = "without a type";
    if (object == NULL || json_is_null(object)) return SP_OK;
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    if (strcmp(type, "Sequence") != 0) return read_step(normalizer, object, type, name);
    const json_t *list = json_object_get(object, "normalizers"), *inner;
    if (!json_is_array(list))
        return sp_fail(SP_BAD_DATA, "'%s': normalizer: a Sequence without 'normalizers'", name);
    size_t i;
    json_array_foreach(list, i, inner) SP_TRY(read_steps(normalizer, inner, name));
    return SP_OK;
}

sp_status sp_normalizer_read(sp_normalizer *normalizer, const json_t *object, const char *name) {
    sp_normalizer read = {0};
    const sp_status status = read_steps(&read, object, name);
    if (status == SP_OK)
        *normalizer = read;
    else
        sp_normalizer_free(&read);
    return status;
}

void sp_normalizer_free(sp_normalizer *normalizer) {
    for (size_t i = 0; i < normalizer->n_steps; i++) {
        free(normalizer->steps[i].prefix);
        sp_replacement_free(&normalizer->steps[i].replacement);
    }
    *normalizer = (sp_normalizer){0};
}

static sp_status prepend(const sp_normalizer_step *step, sp_aligned_text *result, const char *text,
                         size_t n_bytes, bool is_continuation) {
    sp_aligned_begin(result, text, n_bytes);
    if (n_bytes > 0 && !is_continuation)
        SP_TRY(sp_aligned_replace(result, 0, 0, step->prefix, step->prefix_len));
    return sp_aligned_end(result);
}

static sp_status run_step(const sp_normalizer_step *step, sp_normalized *normalized,
                          sp_aligned_text *result, bool is_continuation) {
    const char *text = normalized->bytes;
    const size_t n_bytes = normalized->n_bytes;
    if (step->kind == SP_NORMALIZER_NFC)
        return sp_nfc_normalize(result, &normalized->nfc, text, n_bytes);
    if (step->kind == SP_NORMALIZER_PREPEND)
        return prepend(step, result, text, n_bytes, is_continuation);
    if (step->replacement.regex != NULL && normalized->search == NULL)
        SP_TRY(sp_regex_search_create(&normalized->search));
    return sp_replacement_apply(&step->replacement, normalized->search, result, text, n_bytes);
}

sp_status sp_normalizer_run(const sp_normalizer *normalizer, sp_normalized *normalized,
                            const char *text, size_t n_bytes, bool is_continuation) {
    normalized->bytes = text;
    normalized->n_bytes = n_bytes;
    normalized->n_steps = normalizer->n_steps;
    for (size_t i = 0; i < normalizer->n_steps; i++) {
        sp_aligned_text *result = &normalized->steps[i];
        SP_TRY(run_step(&normalizer->steps[i], normalized, result, is_continuation));
        normalized->bytes = result->bytes;
        normalized->n_bytes = result->n_bytes;
    }
    return SP_OK;
}

size_t sp_normalized_text_offset(sp_normalized *normalized, size_t offset) {
    for (size_t i = normalized->n_steps; i-- > 0;)
        offset = sp_aligned_source_offset(&normalized->steps[i], offset);
    return offset;
}

void sp_normalized_free(sp_normalized *normalized) {
    sp_regex_search_destroy(normalized->search);
    sp_nfc_scratch_free(&normalized->nfc);
    for (size_t i = 0; i < SP_NORMALIZER_STEPS; i++) sp_aligned_free(&normalized->steps[i]);
    *normalized = (sp_normalized){0};
}
