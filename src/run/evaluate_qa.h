/* Question answering over contexts that the decoder reads in full, not at all, and compressed, by one
   compressor or several (pcc.md §5): F1 and exact match of greedy answers after the prompt

       Question: QUESTION\n\nAnswer:␣

   A context as text ends in a blank line before it. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/evaluate_methods.h"

typedef struct sp_qa_job {
    sp_methods_options methods;
    const char *data; /* questions (run/evaluate_questions.h) */
    size_t limit;     /* the first so many that are asked; 0: all */
    size_t min_context,
        max_context; /* tokens of the decoder, both included; SIZE_MAX: as the paper:
                                        over 256; of Natural Questions over 512, 8,000 at most */
    size_t max_new_tokens;
    size_t n_samples;   /* questions to show with their answers */
    const char *output; /* JSON lines of all answers; NULL: none */
} sp_qa_job;

/* Collective over the world. Makes an object on rank 0, owned, and NULL elsewhere: task ("qa"), data
   (their form), file, count (questions asked), passed_over (whose context is too short or too
   long), min_context, max_context (null: none), max_new_tokens, methods [{method, decoder, ratio and
   checkpoint of compressed ones, f1, em (0-100), count, context_rows (mean)}], samples [{id,
   question, answers, full, none, compressed: [..]}]. The same for any number of ranks. SP_BAD_DATA:
   no question is left.

   With methods.contexts that file gets the contexts of all questions that would be asked, each once in a
   row, numbered as in the data, and the object is that of sp_contexts_file_end(). */
SP_NODISCARD sp_status sp_evaluate_qa(sp_world *world, json_t **result, const sp_qa_job *job);
