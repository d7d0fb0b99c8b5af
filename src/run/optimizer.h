/* The optimiser of a run: AdamW over all trained parameters, with the learning rate's schedule and
   clipping of the gradient's norm (pcc.md §4). */
#pragma once

#include "chain/shard.h"
#include "run/run_config.h"

typedef struct sp_optimizer {
    sp_shard shard; /* what this rank updates */
    float *m, *v;   /* [shard.n_values], owned: AdamW's moments */
} sp_optimizer;     /* all zero: empty */

/* Makes the optimiser of the index-th of n_shards. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_optimizer_create(sp_optimizer *optimizer, const sp_params *params,
                                           size_t index, size_t n_shards);
void sp_optimizer_release(sp_optimizer *optimizer);

/* The learning rate of step `step`, from 1, of n_steps: lr * s / warm-up, then cosine to 0 at the
   last step, or constant. */
double sp_learning_rate(const sp_run_config *config, uint64_t step, uint64_t n_steps);

/* Clips the gradient, whose norm over all shards and stages is grad_norm, to train.grad_clip and
   makes update `step`, from 1, of the shard's values in `params` from grads [shard.n_values]. */
void sp_optimizer_step(sp_optimizer *optimizer, const sp_params *params, const float *grads,
                       const sp_run_config *config, uint64_t step, double lr, double grad_norm);
