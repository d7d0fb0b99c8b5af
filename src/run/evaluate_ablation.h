/* Ablations: variants of a compressor, trained apart from it, measured by the same code on the same
   data, each beside what its configuration has otherwise. */
#pragma once

#include "run/evaluate_qa.h"
#include "run/evaluate_reconstruction.h"

typedef struct sp_ablation_job {
    /* The first checkpoint is the base. The token file is its configuration's unless one is named, and
       what it holds out is held out for all. */
    sp_reconstruction_job reconstruction;
    const char *const
        *names;   /* [n_checkpoints] of the rows; NULL: the checkpoint's path. Borrowed */
    sp_qa_job qa; /* its methods are the same; without data (NULL) nothing is asked */
} sp_ablation_job;

/* Collective over the world. Makes an object on rank 0, owned, and NULL elsewhere: task ("ablation"),
   tokens (the file), split, and with data: data (its form), count (questions), methods [{method ("full"
   or "none"), f1, em, context_rows}]; then rows, the base's first, one for each checkpoint and ratio:
   {name, checkpoint, step, changes [{key, value, base}], encoder {model, layers, d_model, parameters},
   trained_parameters, ratio, segments and the figures of reconstruction, and of qa with data}. Changes are
   of keys that tell what was trained; where it was written, for how many ranks and how fast is none.
   The same bytes for any number of ranks. Errors as of the two tasks; SP_USAGE: no token file. */
SP_NODISCARD sp_status sp_evaluate_ablation(sp_world *world, json_t **result,
                                            const sp_ablation_job *job);
