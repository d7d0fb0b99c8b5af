/* The best checkpoint of a run by validation: RUN/best/step-N, which is a run folder of its own with
   one checkpoint, so `--checkpoint RUN/best` takes it. Its files are links to those of RUN/step-N, or
   copies where the file system has no links; RUN's own policy may then let the original go.

   The run notes each validation's loss; when one is the best so far the checkpoint of its step is
   written, and kept here once it is whole. What has been noted goes into each checkpoint's manifest. */
#pragma once

#include "base/json.h"
#include "run/run_config.h"

typedef struct sp_best {
    bool has;         /* there is one */
    double loss;      /* nats */
    uint64_t step;    /* of the best */
    uint64_t n_since; /* validations since then, none of which was better */
} sp_best;            /* all zero: none yet */

/* Does the run keep a best one? One that fine-tunes does, and one that may stop early. */
bool sp_best_is_kept(const sp_run_config *config);

/* Notes the loss of a validation at `step`; true: it is the best, by more than the rounding
   that ranks may differ by. One that is not finite is not. */
bool sp_best_note(sp_best *best, uint64_t step, double loss);

/* Has train.early_stop been reached? */
bool sp_best_ends(const sp_best *best, const sp_run_config *config);

/* To an object, owned, from which it can be had back bit by bit; an object that is NULL gives none.
   SP_BAD_DATA: it is no such object; `where` names it. */
SP_NODISCARD sp_status sp_best_to_json(json_t **object, const sp_best *best);
SP_NODISCARD sp_status sp_best_from_json(sp_best *best, const json_t *object, const char *where);

/* Local. Keeps the checkpoint of `step`, which is whole, in place of the one before. Doing it again
   changes nothing. SP_IO: it cannot be written; the one before is still there. */
SP_NODISCARD sp_status sp_best_keep(const char *run_dir, uint64_t step);

/* Local, when a run begins, or goes on after `best` was noted: removes best checkpoints but that of
   best->step, and forgets the best if that is not there; its own checkpoint, if the run goes on from it
   (`step`), is kept again. */
SP_NODISCARD sp_status sp_best_resume(sp_best *best, const char *run_dir, uint64_t step);
