/* One transformer layer of the Llama kind, pre-norm:

       x2 = x  + o(attention(rope(q(norm1(x))), rope(k(norm1(x))), v(norm1(x))))
       y  = x2 + down(silu(gate(norm2(x2))) * up(norm2(x2)))

   Touvron et al. 2023 (arXiv 2302.13971). Here: what a layer is; layer_block.c trains it, kv_cache.c
   runs it a few rows at a time. */
#pragma once

#include "chain/params.h"
#include "model/adapted_linear.h"
#include "model/model_config.h"
#include "model/roles.h"
#include "tensor/attention.h"
#include "tensor/rmsnorm.h"
#include "tensor/rope.h"

/* A norm's weight: frozen, or a trained parameter. */
typedef struct sp_norm {
    const float *frozen; /* [d_model], borrowed, or NULL */
    sp_param *trained;
} sp_norm;

typedef struct sp_layer {
    const sp_model_config *config; /* borrowed, like rope */
    const sp_rope *rope;
    sp_adapted_linear linears[SP_N_ROLES];
    sp_norm attention_norm, ffn_norm;
} sp_layer;

static inline sp_rmsnorm sp_norm_make(const sp_norm *norm, const sp_model_config *config) {
    return sp_rmsnorm_make(norm->trained != NULL ? norm->trained->value : norm->frozen,
                           config->d_model, (float)config->norm_eps);
}

static inline float *sp_norm_grad(const sp_norm *norm) {
    return norm->trained != NULL ? norm->trained->grad : NULL;
}

sp_attention_shape sp_attention_shape_of(const sp_model_config *config);
