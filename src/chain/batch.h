/* Ragged batches: sequences of rows, concatenated, never padded.

   A sequence attends to all rows of its parent, then causally to its own. So a prefix that several
   branches share is computed once: the branches are its children. Parents stand before children,
   and a parent has no parent. A family (a parent and its children) is contiguous. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SP_NO_PARENT = -1, SP_NO_TARGET = -1 };

typedef struct sp_seq {
    size_t begin, len;     /* its rows: [begin, begin + len) */
    size_t first_position; /* 0, or the parent's len for a child */
    int32_t parent;        /* index of another sequence before it, or SP_NO_PARENT */
    uint64_t sample;       /* names the sample for dropout; 0 with dropout off */
} sp_seq;

typedef struct sp_rows {
    size_t n_rows, n_seqs;
    sp_seq *seqs; /* [n_seqs] */
    /* What each row's input embedding is: id >= 0 is a token; id < 0 is row -1-id of the special
       rows of the block that makes the inputs (memory tokens; markers, then slots). */
    int32_t *ids; /* [n_rows] */
    /* What the row after it is to be: a token, or SP_NO_TARGET. NULL where there is no loss. */
    int32_t *targets;     /* [n_rows] */
    uint8_t *target_loss; /* [n_rows], which loss a target counts in (sp_loss) */
} sp_rows;
