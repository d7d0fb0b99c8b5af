/* Evaluation of a compressor on reconstruction (pcc.md §5): free-running greedy text against the
   segment's own, and the teacher-forced figures beside it. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"

typedef enum sp_split { SP_SPLIT_HELD_OUT, SP_SPLIT_TRAINED, SP_SPLIT_ALL } sp_split;

typedef struct sp_evaluate_job {
    const char *checkpoint; /* run or step folder */
    const char *tokens;     /* token file; NULL: the configuration's */
    sp_split split;
    size_t most_segments;           /* the first of the split */
    size_t max_new_tokens;          /* of a segment */
    size_t n_samples;               /* reconstructions to show */
    const char *const *assignments; /* [n_assignments] over the configuration */
    size_t n_assignments;
} sp_evaluate_job;

/* Collective over the world. Makes an object on rank 0, owned, and NULL elsewhere: segments, split,
   ratio, bleu (corpus, as sacrebleu, 0-100), bleu_sentence (0-100), rouge_l, rouge_l_stem (0-1),
   exact_match (0-1), token_accuracy (0-1) and perplexity (teacher-forced), seconds, samples
   [{segment, document, reference, reconstruction}], of the segments that fell to rank 0. A file
   without held-out segments is evaluated whole, and `split` says so. */
SP_NODISCARD sp_status sp_evaluate_reconstruction(sp_world *world, json_t **result,
                                                  const sp_evaluate_job *job);
