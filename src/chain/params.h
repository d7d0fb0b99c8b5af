/* Trained parameters: named tensors whose values and gradients lie in two flat f32 arrays.

   Blocks declare their parameters first; then the arrays are allocated at once, and each parameter
   knows its place. What works on all of them (gradient reduction, clipping, AdamW, checkpoints)
   works on the flat arrays. Order is the order of declaration, which is that of the chain's blocks.

   A name is what an export calls the tensor, after its side: "encoder.base_model.model.model.
   layers.0.self_attn.q_proj.lora_A.weight", "encoder.memory_tokens", "converter.norm.weight". */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_param {
    char *name; /* owned */
    size_t n_dims, shape[2];
    size_t offset, n_values; /* its place in the flat arrays */
    float *value, *grad;     /* that place; NULL before sp_params_allocate() */
    bool is_frozen;          /* gets no gradient and is never updated */
} sp_param;

typedef struct sp_params {
    sp_param **entries; /* [n_entries], owned; an entry's address is stable */
    size_t n_entries, capacity;
    size_t n_values;
    /* Group g is what block g of a chain trains: values group_begin[g] up to the next one's, or to
       n_values. Blocks that train nothing, or are not here, have empty ones. */
    size_t *group_begin; /* [n_groups], owned */
    size_t n_groups, group_capacity;
    float *values, *grads; /* [n_values], owned, zero at first */
    bool are_frozen; /* no gradients are allocated: inference, or they get a place elsewhere */
} sp_params;

/* What is declared from here on, up to the next call, is one group. */
SP_NODISCARD sp_status sp_params_begin_group(sp_params *params);

/* Where group g ends. */
static inline size_t sp_params_group_end(const sp_params *params, size_t g) {
    return g + 1 < params->n_groups ? params->group_begin[g + 1] : params->n_values;
}

/* Declares a parameter of shape [n_rows, n_cols], or [n_cols] if n_rows is 0; the name is printf
   style. *param is borrowed from the set. */
__attribute__((format(printf, 5, 6))) SP_NODISCARD sp_status sp_params_declare(
    sp_params *params, sp_param **param, size_t n_rows, size_t n_cols, const char *name, ...);

/* Allocates values and, unless are_frozen, gradients; no parameter is declared afterwards. */
SP_NODISCARD sp_status sp_params_allocate(sp_params *params);

/* The parameter of that name, or NULL. */
sp_param *sp_params_find(const sp_params *params, const char *name);

void sp_params_free(sp_params *params);
