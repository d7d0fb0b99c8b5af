/* What lies in a run's folder beside checkpoints and metrics: files by which a user asks for things,
   and earlier runs that were set aside. */
#pragma once

#include "base/status.h"

#include <stdbool.h>

/* Is there a file of that name? It is taken away: renamed NAME.taken, which tells a job script after
   the end of a run who asked for it. */
bool sp_run_folder_take(const char *run_dir, const char *name);

/* Moves checkpoints, the best one too, and metrics into a new folder previous-N, so that a run can start anew in the
   same place and nothing is lost. A folder without them stays as it is. */
SP_NODISCARD sp_status sp_run_folder_set_aside(const char *run_dir);

/* Adds to the message of a failure of the system's (SP_IO) what it means for the run: what is saved is
   whole, and what to do. Any other status stays as it is. Returns `status`. */
sp_status sp_run_folder_explain(sp_status status);
