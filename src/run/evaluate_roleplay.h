/* Role play: the perplexity of a reply in a dialogue after its scene and characters, which the decoder
   reads in full, not at all, or compressed (pcc.md §5). Lower is better. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/evaluate_methods.h"

typedef struct sp_roleplay_job {
    sp_methods_options methods;
    const char *data; /* file (run/evaluate_dialogues.h) */
    size_t limit;     /* the first so many dialogues; 0: all */
} sp_roleplay_job;

/* Collective over the world. Makes an object on rank 0, owned, and NULL elsewhere: task ("roleplay"),
   data, count, passed_over (without a reply), methods [{method, ratio and checkpoint of compressed
   ones, perplexity, tokens (of all replies, with EOS), count, context_rows (mean)}]. The perplexity is
   that of a token, over all replies. The same for any number of ranks. With methods.contexts that file
   gets the contexts, each once in a row, and the object is that of sp_contexts_file_end(). */
SP_NODISCARD sp_status sp_evaluate_roleplay(sp_world *world, json_t **result,
                                            const sp_roleplay_job *job);
