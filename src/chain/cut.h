/* Sharing a chain out: which blocks run on which rank of a pipeline. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* Blocks [begin, end) of a chain. */
typedef struct sp_stage {
    size_t begin, end;
} sp_stage;

/* Cuts blocks of costs [n] into stages [n_stages], contiguous and none empty, so that the dearest
   stage is as cheap as can be. SP_USAGE: more stages than blocks. */
SP_NODISCARD sp_status sp_cut(sp_stage *stages, size_t n_stages, const double *costs, size_t n);

/* Cuts a chain of two halves, blocks [0, fold) and [fold, n), into stages [2 n_ranks], of which rank
   k holds stages k and n_ranks + k: each half is cut into n_ranks, so that the dearest rank is as
   cheap as can be. Where the halves are of (nearly) equal length, both are cut at the same places:
   then a rank holds layers k of both, and one copy of them if their weights are the same.
   SP_USAGE: more ranks than a half has blocks. */
SP_NODISCARD sp_status sp_cut_folded(sp_stage *stages, size_t n_ranks, const double *costs,
                                     size_t n, size_t fold);

/* The sum of costs over a stage. */
double sp_stage_cost(const sp_stage *stage, const double *costs);
