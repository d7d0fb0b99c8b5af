/* The order in which the ranks of a pipeline run their stages over a step's micro-batches: 1F1B
   (Narayanan et al. 2021, arXiv 2104.04473, §2.2), interleaved where a rank holds two stages.

   The order comes from a simulation of all ranks, each of which takes the operation that can start
   first, a backward pass before a forward one; so every rank can work it out alone, and the same
   simulation tells how long a step takes. What is in flight is
   bounded (sp_stage_in_flight). An order made so cannot deadlock, since the simulation ran through. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_operation {
    size_t stage, micro_batch;
    bool is_backward;
} sp_operation;

/* Stages [n_stages] shared out in turn: stage s is rank s % n_ranks's. */
typedef struct sp_pipeline_shape {
    size_t n_stages, n_ranks;
    const double *forward_s, *backward_s; /* [n_stages], borrowed: seconds for a micro-batch */
    double transfer_s;                    /* between stages on different ranks */
} sp_pipeline_shape;

typedef struct sp_schedule {
    sp_operation *operations; /* [n_operations], owned: one rank's, in its order */
    size_t n_operations;
    double seconds; /* of the whole step, from the first operation to the last of all ranks */
} sp_schedule;      /* all zero: empty */

/* Makes rank's schedule of n_micro micro-batches into *schedule, freeing what is there; without
   backward passes for validation. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_schedule_make(sp_schedule *schedule, const sp_pipeline_shape *shape,
                                        size_t rank, size_t n_micro, bool has_backward);
void sp_schedule_free(sp_schedule *schedule);

/* Micro-batches that stage s may have in flight: as many as keep 1F1B going, and some more where two
   stages a rank leave gaps that these fill (measured by simulation: half the ranks' number takes
   most of the bubble that more would take). */
static inline size_t sp_stage_in_flight(size_t n_stages, size_t n_ranks, size_t s) {
    return n_stages - s + (n_stages > n_ranks ? n_ranks / 2 : 0);
}
