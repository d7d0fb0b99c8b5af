/* A training run as one rank holds it: its part of the chain, its shard, and what the ranks do
   together. Opened from a configuration, and from the checkpoint to go on from; run/train.c trains
   it. */
#pragma once

#include "io/run_lock.h"
#include "mpi/replicas.h"
#include "run/best_checkpoint.h"
#include "run/checkpointer.h"
#include "run/metrics.h"
#include "run/optimizer.h"
#include "run/stage_runner.h"
#include "run/start_memory.h"
#include "run/step_guard.h"

typedef struct sp_train_run {
    sp_world *world;             /* borrowed */
    const sp_run_config *config; /* borrowed; once open, ours: */
    sp_run_config effective;     /* the same with what `auto` comes to; borrows its strings */
    sp_run_lock lock;            /* rank 0's */
    sp_grid *grid;
    sp_watchdog *watchdog;
    sp_tokens *tokens; /* or */
    sp_task_set tasks; /* of fine-tuning */
    sp_samples samples;
    sp_checkpoint *checkpoint; /* to go on from; open until the end */
    sp_checkpoint *init;       /* else of train.init; likewise */
    sp_stages stages;
    sp_start_memory memory;
    sp_models models;
    sp_optimizer optimizer;
    sp_shard frozen; /* of what is held, and not trained */
    sp_reducer *reducer;
    sp_stage_runner *runner;
    sp_encoder_states *states; /* of an encoder that is not run */
    sp_replicas replicas;
    sp_checkpointer *checkpointer;
    sp_step_guard guard;
    sp_best best;
    json_t *grid_json;      /* for checkpoints */
    double peak;            /* FLOP/s that products reach, of all ranks together */
    sp_metrics metrics;     /* rank 0's */
    uint64_t step, n_steps; /* updates made; train.steps */
} sp_train_run;             /* all zero but world and config: not open */

/* Collective over the world. Opens the run of run->world and run->config; on_error is for rows. `resume` is "auto", "none" or
   a path, as for sp_train(). A run that is finished is opened no further than its step: then
   sp_train_run_is_finished(). Call sp_train_run_close() whatever the outcome. The outcome is the same
   on all ranks. */
SP_NODISCARD sp_status sp_train_run_open(sp_train_run *run, const char *resume,
                                         sp_on_error on_error);

/* What tells the run's data from others. Borrowed. */
const char *sp_train_run_digest(const sp_train_run *run);

/* Collective over the world if `status` is SP_OK or was agreed. */
void sp_train_run_close(sp_train_run *run, sp_status status);

static inline bool sp_train_run_is_finished(const sp_train_run *run) {
    return run->step >= run->n_steps || sp_best_ends(&run->best, run->config);
}

static inline bool sp_train_run_is_first(const sp_train_run *run) {
    return sp_world_rank(run->world) == 0;
}
