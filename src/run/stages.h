/* Which blocks of the chain each rank of a pipeline runs.

   The cut is by cost: each block's FLOP (forward, and backward as far as something before it, or in
   it, is trained) over the rate that the machine reaches for its precision, measured at start by
   rank 0 for all. No cut changes a bit of what is trained. */
#pragma once

#include "base/json.h"
#include "chain/cut.h"
#include "chain/schedule.h"
#include "mpi/grid.h"
#include "run/outline.h"

typedef struct sp_stages {
    sp_stage *stages;               /* [n_stages], owned; stage s is rank s % n_ranks's */
    double *forward_s, *backward_s; /* [n_stages], owned: predicted seconds of a micro-batch */
    size_t n_stages, n_ranks, rank; /* rank: ours in its pipeline */
    size_t n_blocks;
    bool *has_block; /* [n_blocks], owned: ours */
} sp_stages;         /* all zero: empty */

/* Cuts the outline's chain for this rank of the pipeline as `config` says. rates [2] FLOP/s, equal on
   all ranks: of the encoder's and of the decoder's precision. SP_USAGE: more ranks than blocks. */
SP_NODISCARD sp_status sp_stages_cut(sp_stages *stages, const sp_outline *outline,
                                     const sp_run_config *config, size_t pipeline_size,
                                     size_t pipeline_rank, const double *rates);
void sp_stages_free(sp_stages *stages);

/* What operations are scheduled by. Borrows from `stages`. */
sp_pipeline_shape sp_stages_shape(const sp_stages *stages);

/* {"pipeline": P, "data": D, "cut": [[begin, end], ...]}, owned, for a checkpoint's manifest. */
SP_NODISCARD sp_status sp_stages_to_json(json_t **object, const sp_stages *stages,
                                         size_t data_size);

/* Measures FLOP/s of products with frozen weights of the encoder's and the decoder's precision, of
   shapes as training has them. */
SP_NODISCARD sp_status sp_stages_measure_rates(double *rates, const sp_run_config *config);
