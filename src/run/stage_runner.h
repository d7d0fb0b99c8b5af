/* Runs micro-batches through the stages of this rank: 1F1B over a pipeline's ranks, gradients handed
   to the reducer block by block.

   Every replica runs as many micro-batches; one with fewer samples has empty ones at the end, so that
   all reduce alike. Blocks before the first trained one run forward only, and keep nothing. Each rank
   fills the batches of its stages itself: rows of tokens never travel. */
#pragma once

#include "mpi/grid.h"
#include "mpi/reducer.h"
#include "mpi/watchdog.h"
#include "mpi/wire.h"
#include "run/encoder_states.h"
#include "run/models.h"
#include "run/samples.h"
#include "run/stages.h"

typedef struct sp_stage_runner sp_stage_runner;

/* What runs; all borrowed until sp_stage_runner_destroy(). */
typedef struct sp_stage_runner_parts {
    const sp_grid *grid;
    const sp_stages *stages;
    sp_compressor *compressor;
    sp_samples *samples;
    const sp_encoder_states
        *states; /* the encoder is not run, and memory comes from here; or NULL */
    sp_reducer *reducer;
    sp_watchdog *watchdog;
    size_t pass_samples; /* of a micro-batch of the schedule */
    bool wire_is_bf16;
} sp_stage_runner_parts;

/* Makes a runner into *runner, owned. Collective over the pipeline. SP_FAILURE: no memory, or no
   thread to be had. */
SP_NODISCARD sp_status sp_stage_runner_create(sp_stage_runner **runner,
                                              const sp_stage_runner_parts *parts);
void sp_stage_runner_destroy(sp_stage_runner *runner); /* collective; NULL is fine */

/* What this rank found, to be summed over all: losses are the last stage's. */
typedef struct sp_stage_sums {
    double loss_sum[SP_N_LOSSES];
    uint64_t n_targets[SP_N_LOSSES], n_correct[SP_N_LOSSES];
    double flop;
    double seconds_data, seconds_busy; /* reading samples; computing */
} sp_stage_sums;

/* Runs the global batch [begin, end) of stream positions, this replica's share of it, forward and
   backward. loss_scale [SP_N_LOSSES] as in sp_batch. Gradients are the reducer's to complete. Collective
   over the grid; on failure of a rank others may wait for it (sp_world_fail_alone()). */
SP_NODISCARD sp_status sp_stage_runner_train(sp_stage_runner *runner, sp_stage_sums *sums,
                                             uint64_t step, uint64_t begin, uint64_t end,
                                             const float *loss_scale);

/* Runs held-out segments [0, n) forward at a ratio, groups of them dealt to the replicas in turn. Collective
   likewise. */
SP_NODISCARD sp_status sp_stage_runner_validate(sp_stage_runner *runner, sp_stage_sums *sums,
                                                uint64_t step, size_t n_segments, size_t ratio);
