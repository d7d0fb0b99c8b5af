/* What a configuration that was changed since the checkpoint does to a run that goes on from it.
   The present one wins, but for what sp_train_state_check() refuses and for what is not read again. */
#pragma once

#include "io/checkpoint.h"
#include "run/run_config.h"

/* Writes a line "train.lr: 0.0003 here wins over 0.0001 of 'WHERE'" for each key whose value differs,
   in the table's order, to *lines, owned; "" if none does. */
SP_NODISCARD sp_status sp_resume_notes(char **lines, const sp_run_config *now,
                                       const sp_run_config *saved, const char *where);

/* Logs them as notes for a checkpoint that the run goes on from. Local; a key that the checkpoint's
   configuration does not have is taken to be at its default there. */
SP_NODISCARD sp_status sp_resume_notes_log(const sp_run_config *now,
                                           const sp_checkpoint *checkpoint);
