/* The optimiser of a run: AdamW over all trained parameters, with the learning rate's schedule and
   clipping of the gradient's norm (pcc.md §4). */
#pragma once

#include "chain/params.h"
#include "run/run_config.h"

typedef struct sp_optimizer {
    float *m, *v; /* [params.n_values], owned: AdamW's moments */
} sp_optimizer;

SP_NODISCARD sp_status sp_optimizer_create(sp_optimizer *optimizer, const sp_params *params);
void sp_optimizer_release(sp_optimizer *optimizer);

/* The learning rate of step `step`, from 1, of n_steps: lr * s / warm-up, then cosine to 0 at the
   last step, or constant. */
double sp_learning_rate(const sp_run_config *config, uint64_t step, uint64_t n_steps);

/* One norm over all gradients, in f64: NaN or infinite where a gradient is. */
double sp_gradient_norm(const sp_params *params);

/* Clips the gradient of norm grad_norm to train.grad_clip and makes update `step`, from 1. */
void sp_optimizer_step(sp_optimizer *optimizer, sp_params *params, const sp_run_config *config,
                       uint64_t step, double lr, double grad_norm);
