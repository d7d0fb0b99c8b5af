/* Pretraining: stages 1 and 2 of pcc.md §3 and §4, and any other setting of the same chain, on one
   or several ranks. Which stage it is, the configuration says. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/run_config.h"

/* Collective over the world. Trains until train.steps or train.stop_at_step, writing metrics.jsonl
   and checkpoints into run.dir.

   `resume` is "auto" (go on from the newest checkpoint of run.dir, if there is one), "none" (start
   anew; what is there is set aside), or the path of a run or step folder to go on from. A
   finished run is SP_OK at once. SP_STOPPED: SIGTERM, SIGUSR1 or a file STOP in run.dir came; a
   checkpoint was written. SP_NUMERIC: a loss or gradient is not finite, or a weight
   has changed by itself; the last checkpoint stays.
   A file SAVE in run.dir asks for a checkpoint; either file is renamed NAME.taken when it is heeded.

   With SP_OK, makes an object on rank 0, owned, and NULL elsewhere: run (the folder), step, steps,
   finished, and where there are any last and last_validation, lines of metrics.jsonl. */
SP_NODISCARD sp_status sp_pretrain(sp_world *world, json_t **result, const sp_run_config *config,
                                   const char *resume);
