/* In-context learning from demonstrations that the decoder reads in full, not at all, or compressed
   (pcc.md §5): accuracy on GSM8K, SST-2 and WSC.

   Of the options of SST-2 and WSC the one wins whose mean negative log-likelihood a token, less that
   which it has where the content is N/A, is least. GSM8K is answered greedily. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/evaluate_methods.h"

typedef struct sp_icl_job {
    sp_methods_options methods;
    const char *data, *demonstrations; /* files (run/evaluate_exemplars.h) of one task */
    size_t demonstration_tokens; /* whole demonstrations, as many as fit, in the decoder's tokens */
    size_t limit;                /* the first so many examples; 0: all */
    size_t max_new_tokens;       /* of GSM8K */
    size_t n_samples;            /* examples to show with what was answered */
} sp_icl_job;

/* Collective over the world. Makes an object on rank 0, owned, and NULL elsewhere: task ("icl"), data,
   count, demonstrations, demonstration_tokens, methods [{method, ratio and checkpoint of compressed
   ones, accuracy (0-100), count, context_rows}], samples [{prompt, answer, full, none, compressed:
   [..]}]. The same for any number of ranks. SP_BAD_DATA: files of two tasks, or no demonstration is
   short enough. With methods.contexts that file gets the demonstrations as one document, and the object is
   that of sp_contexts_file_end(). */
SP_NODISCARD sp_status sp_evaluate_icl(sp_world *world, json_t **result, const sp_icl_job *job);
