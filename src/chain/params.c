#include "chain/params.h"

#include "base/memory.h"
#include "base/size.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sp_status sp_params_begin_group(sp_params *params) {
    if (params->n_groups == params->group_capacity) {
        const size_t capacity = params->group_capacity > 0 ? 2 * params->group_capacity : 64;
        size_t *grown = realloc(params->group_begin, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for parameters");
        params->group_begin = grown;
        params->group_capacity = capacity;
    }
    params->group_begin[params->n_groups++] = params->n_values;
    return SP_OK;
}

sp_status sp_params_declare(sp_params *params, sp_param **param, size_t n_rows, size_t n_cols,
                            const char *name, ...) {
    assert(params->values == NULL);
    char text[256];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);

    size_t n_values = 0;
    if (!sp_size_mul(&n_values, n_rows > 0 ? n_rows : 1, n_cols))
        return sp_fail(SP_FAILURE, "'%s': %zu x %zu values are too many", text, n_rows, n_cols);
    if (params->n_entries == params->capacity) {
        const size_t capacity = params->capacity > 0 ? 2 * params->capacity : 64;
        sp_param **grown = realloc(params->entries, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for parameters");
        params->entries = grown;
        params->capacity = capacity;
    }
    sp_param *made = calloc(1, sizeof *made);
    char *copy = strdup(text);
    if (made == NULL || copy == NULL) {
        free(made);
        free(copy);
        return sp_fail(SP_FAILURE, "no memory for parameters");
    }
    *made = (sp_param){.name = copy,
                       .n_dims = n_rows > 0 ? 2 : 1,
                       .shape = {n_rows > 0 ? n_rows : n_cols, n_rows > 0 ? n_cols : 0},
                       .offset = params->n_values,
                       .n_values = n_values};
    params->n_values += n_values;
    params->entries[params->n_entries++] = made;
    *param = made;
    return SP_OK;
}

sp_status sp_params_allocate(sp_params *params) {
    void *values = NULL, *grads = NULL;
    SP_TRY(sp_alloc_array(&values, params->n_values, sizeof(float), "trained parameters"));
    params->values = values;
    if (!params->are_frozen)
        SP_TRY(sp_alloc_array(&grads, params->n_values, sizeof(float), "gradients"));
    params->grads = grads;
    for (size_t i = 0; i < params->n_entries; i++) {
        sp_param *param = params->entries[i];
        param->value = params->values + param->offset;
        param->grad = params->are_frozen ? NULL : params->grads + param->offset;
    }
    return SP_OK;
}

sp_param *sp_params_find(const sp_params *params, const char *name) {
    for (size_t i = 0; i < params->n_entries; i++)
        if (strcmp(params->entries[i]->name, name) == 0) return params->entries[i];
    return NULL;
}

void sp_params_free(sp_params *params) {
    for (size_t i = 0; i < params->n_entries; i++) {
        free(params->entries[i]->name);
        free(params->entries[i]);
    }
    free(params->group_begin);
    free(params->entries);
    free(params->values);
    free(params->grads);
    *params = (sp_params){0};
}
