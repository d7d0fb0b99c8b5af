/* Rows of fine-tuning as token ids: read once at the start, by every rank for itself, and kept in
   memory.

   A context is cut into segments in the encoder's tokens, as `slotpress compress` cuts a document; the
   same context in several rows is kept once. Prompt and answer are in the decoder's tokens; an answer
   ends in the decoder's EOS, or in the end of a turn in a chat. Rows come in the order of the files. */
#pragma once

#include "pcc/layout.h"
#include "run/corpus.h"
#include "run/run_config.h"

#include <stdbool.h>

typedef struct sp_task_context {
    size_t id_begin, segment_begin, n_segments; /* its ids; its lengths of segments */
    uint64_t hash;                              /* of its text */
} sp_task_context;

typedef struct sp_task {
    size_t context;  /* index */
    size_t id_begin; /* before, prompt, answer, one behind the other */
    uint32_t n_before, n_prompt, n_answer;
    int32_t end;
    bool omits_bos;
    bool is_held_out; /* by the file that it comes from, or by its context's hash */
    uint64_t line;    /* in its file, from 1 */
} sp_task;

enum { SP_TASK_DIGEST_SIZE = 33 }; /* 32 hexadecimal digits and a NUL */

typedef struct sp_task_set {
    int32_t *ids;              /* [n_ids], owned */
    uint32_t *segment_lens;    /* [n_segments], owned */
    sp_task_context *contexts; /* [n_contexts], owned */
    sp_task *tasks;            /* [n_tasks], owned */
    size_t n_ids, n_segments, n_contexts, n_tasks;
    size_t n_skipped;                 /* rows that were bad */
    char digest[SP_TASK_DIGEST_SIZE]; /* over all that a training run reads of it */
    size_t capacities[4];             /* private */
} sp_task_set;                        /* all zero: empty */

/* Reads data.rows and data.validation_rows of `config` into an empty *set. SP_BAD_DATA: a row that is
   none, names a token that a model does not have, or is longer than the decoder's positions: its
   message names file and line; with SP_ON_ERROR_SKIP it is left out and logged, and only a set without
   a row to train on is refused. SP_USAGE: no chat template for rows of messages. */
SP_NODISCARD sp_status sp_task_set_read(sp_task_set *set, const sp_run_config *config,
                                        sp_on_error on_error);
void sp_task_set_free(sp_task_set *set);

/* A row as a sample, without a key. Borrows from the set. */
sp_question sp_task_question(const sp_task_set *set, size_t task);

/* Encoder tokens of its context. */
size_t sp_task_context_tokens(const sp_task_set *set, size_t context);
