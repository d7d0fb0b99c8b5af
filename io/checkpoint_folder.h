/* The folders of a run's checkpoints: RUN/step-0001200, and RUN/step-0001200.tmp in the making. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RUN/step-NNNNNNN, or with .tmp behind, in *path, owned. */
SP_NODISCARD sp_status sp_checkpoint_folder(char **path, const char *run_dir, uint64_t step,
                                            bool in_the_making);

/* Does `dir` look like a step folder (has a manifest), rather than a run folder? */
bool sp_is_step_folder(const char *dir);

/* Lists the steps that have a folder in run_dir, the newest first, in *steps [*n], owned. A run
   folder that is not there has none. */
SP_NODISCARD sp_status sp_checkpoint_list(uint64_t **steps, size_t *n, const char *run_dir);

/* Gives the finished temporary folder its name, in place of one that has it, and syncs run_dir. */
SP_NODISCARD sp_status sp_checkpoint_put_in_place(const char *run_dir, uint64_t step);

/* Removes what writers that were killed left in run_dir. */
SP_NODISCARD sp_status sp_checkpoint_sweep(const char *run_dir);
