/* Refinement: slots improved by gradient steps through the frozen decoder, each segment's by itself.

   From the encoder's slots on, Adam minimises the loss of reconstructing the segment's text, with a
   learning rate that falls from SP_REFINE_LR to 0 along a cosine. Of all slots on the way, and the
   last ones, each segment keeps those with the least loss, so that refining never does harm. */
#pragma once

#include "chain/pass.h"
#include "pcc/compressor.h"

#include <stddef.h>

#define SP_REFINE_LR 0.03

/* What refining did, in nats summed over all targets. */
typedef struct sp_refine_loss {
    double before, after;
    uint64_t n_targets;
} sp_refine_loss;

typedef struct sp_refiner {
    sp_compressor *compressor; /* borrowed; both sides are open */
    size_t n_steps;
    sp_pass pass;
    float *m, *v, *best; /* [capacity, d], owned */
    size_t capacity;     /* slots */
    double *nll;         /* [nll_capacity], owned: of each target of the batch */
    size_t nll_capacity;
} sp_refiner; /* all zero: none */

/* Makes a refiner of n_steps (at least 1) into an all-zero *refiner; from here on the compressor's
   markers are frozen. */
void sp_refiner_init(sp_refiner *refiner, sp_compressor *compressor, size_t n_steps);
void sp_refiner_release(sp_refiner *refiner); /* all zero is fine */

/* Improves slots [batch->n_taken, d_dec] in place. The batch holds n samples, each with the
   reconstruction branch alone, of n_slots[i] slots and n_targets[i] targets, in order. Adds to
   *loss. SP_FAILURE: no memory; SP_BAD_DATA: more positions than the decoder has learned. */
SP_NODISCARD sp_status sp_refine(sp_refiner *refiner, sp_batch *batch, float *slots,
                                 const size_t *n_slots, const size_t *n_targets, size_t n,
                                 sp_workspace *workspace, sp_refine_loss *loss);
