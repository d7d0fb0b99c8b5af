/* The configuration of a fine-tuning run: that of run/run_config.h, where what train.init was made with
   goes before the defaults. */
#pragma once

#include "run/run_config.h"

/* Fills an all-zero *config: defaults; then, of the configuration of the checkpoint that train.init
   names, the sections encoder, decoder (but for markers) and segment, and the names of the streams;
   then the file at `path` (NULL: none) and assignments [n_assignments]; then checks it, as
   sp_run_config_load() does. Where train.init is gone, and run.dir has a checkpoint to go on from, that
   one's configuration is taken. Release with sp_run_config_free(), also after a failure. SP_USAGE:
   likewise, and without data.rows; SP_IO: train.init is no checkpoint. */
SP_NODISCARD sp_status sp_finetune_config_load(sp_run_config *config, const char *path,
                                               const char *const *assignments,
                                               size_t n_assignments);

/* Does the user say data.rows, in the file at `path` (NULL: none) or in assignments? SP_USAGE, SP_IO: the
   file. */
SP_NODISCARD sp_status sp_finetune_config_is_meant(bool *is_meant, const char *path,
                                                   const char *const *assignments,
                                                   size_t n_assignments);
