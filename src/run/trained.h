/* A trained compressor, opened from a checkpoint with the configuration that it was made with. */
#pragma once

#include "run/models.h"

typedef struct sp_trained {
    sp_checkpoint *checkpoint;
    sp_run_config config; /* the checkpoint's, with the user's assignments over it */
    sp_models models;
    size_t ratio;       /* the one in use of config's: the least, until another one is chosen */
    const char *digest; /* of the parameters: the compressor's identity; borrowed */
} sp_trained;           /* all zero: empty */

/* Opens a run or step folder for inference. assignments [n_assignments] ("decoder.model=...") go
   over the checkpoint's configuration. */
SP_NODISCARD sp_status sp_trained_open(sp_trained *trained, const char *dir,
                                       const char *const *assignments, size_t n_assignments,
                                       sp_sides sides);
void sp_trained_close(sp_trained *trained);

/* Brings a ratio into use; 0: the least of those that the compressor was trained for. SP_USAGE: it was
   not trained for this one; the message names those. */
SP_NODISCARD sp_status sp_trained_use_ratio(sp_trained *trained, size_t ratio);

/* The batch layout of this compressor: segment length, the ratio in use and rule, the decoder's BOS and EOS if
   it is open. */
sp_layout sp_trained_layout(const sp_trained *trained);
