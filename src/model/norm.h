/* A model's norm: RMSNorm, or LayerNorm where its family has that; frozen or trained. */
#pragma once

#include "chain/params.h"
#include "model/model_config.h"

typedef struct sp_norm {
    const float *frozen, *frozen_bias; /* [d_model], borrowed, or NULL */
    sp_param *trained, *trained_bias;  /* where they are trained; biases are LayerNorm's */
} sp_norm;

enum { SP_NORM_STATS = 2 }; /* values that forward keeps for each row */

/* Writes y [n_rows, d_model], and stats [SP_NORM_STATS, n_rows] for the backward pass. */
void sp_norm_forward(const sp_norm *norm, const sp_model_config *config, float *restrict y,
                     float *restrict stats, const float *restrict x, size_t n_rows);

/* Writes (beta 0) or adds to (beta 1) dx [n_rows, d_model] given dy, and adds to the gradients of
   what is trained. */
void sp_norm_backward(const sp_norm *norm, const sp_model_config *config, float *restrict dx,
                      float beta, const float *restrict dy, const float *restrict x,
                      const float *restrict stats, size_t n_rows);
