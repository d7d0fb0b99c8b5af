/* Evaluation of compressors on reconstruction (pcc.md §5): free-running greedy text against the
   segment's own, and the teacher-forced figures beside it. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/evaluate_methods.h"

typedef enum sp_split { SP_SPLIT_HELD_OUT, SP_SPLIT_TRAINED, SP_SPLIT_ALL } sp_split;

typedef struct sp_reconstruction_job {
    sp_methods_options compressors; /* at each ratio; slot files have the segments */
    const char *tokens;             /* token file; NULL: each configuration's */
    sp_split split;
    size_t most_segments;  /* the first of the split */
    size_t max_new_tokens; /* of a segment */
    size_t n_samples;      /* reconstructions to show, of the first segments */
} sp_reconstruction_job;

/* Collective over the world. Makes an object on rank 0, owned, and NULL elsewhere: task
   ("reconstruction"), split, ratio, checkpoint, slots and dtype (where a slot file was read), segments, bleu (corpus, as sacrebleu, 0-100),
   bleu_sentence (0-100), rouge_l, rouge_l_stem (0-1), exact_match (0-1), token_accuracy (0-1) and
   perplexity (teacher-forced), by_length [{min_tokens, max_tokens, and these figures}], in quarters of
   a full segment's encoder tokens, samples [{segment, document, reference, reconstruction}]; all that
   of the first checkpoint at its first ratio, and of each at each of its own in by_ratio; seconds. Apart from the latter the same for
   any number of ranks. A file without held-out segments is evaluated whole, and `split` says so. */
SP_NODISCARD sp_status sp_evaluate_reconstruction(sp_world *world, json_t **result,
                                                  const sp_reconstruction_job *job);
