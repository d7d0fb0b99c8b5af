/* Training: stages 1 and 2 of pcc.md §3 and §4, fine-tuning, and any other setting of the same chain,
   on one or several ranks. Which it is, the configuration says: where it names rows, losses are of
   answers (run/task_set.h), and the best checkpoint by validation is kept (run/best_checkpoint.h). */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/corpus.h"
#include "run/run_config.h"

typedef struct sp_train_options {
    const char *resume;   /* borrowed; see below */
    sp_on_error on_error; /* of rows */
} sp_train_options;

/* Collective over the world. Trains until train.steps, train.stop_at_step or an early stop, writing
   metrics.jsonl and checkpoints into run.dir.

   `resume` is "auto" (go on from the newest checkpoint of run.dir, if there is one), "none" (start
   anew; what is there is set aside), or the path of a run or step folder to go on from. A
   finished run is SP_OK at once. SP_STOPPED: SIGTERM, SIGUSR1 or a file STOP in run.dir came; a
   checkpoint was written. SP_NUMERIC: a loss or gradient is not finite, or a weight
   has changed by itself; the last checkpoint stays.
   A file SAVE in run.dir asks for a checkpoint; either file is renamed NAME.taken when it is heeded.

   With SP_OK, makes an object on rank 0, owned, and NULL elsewhere: run (the folder), step, steps,
   finished, and where there are any last and last_validation, lines of metrics.jsonl; in runs that
   keep a best checkpoint also stopped_early, and best, with loss and step, where there is one. */
SP_NODISCARD sp_status sp_train(sp_world *world, json_t **result, const sp_run_config *config,
                                const sp_train_options *options);
