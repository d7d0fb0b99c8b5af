/* What one micro-batch brings to the chain: ragged rows, where memory is taken, and the losses.

   Sequences of rows are concatenated, never padded. A sequence attends to all rows of its parent,
   then causally to its own. So a prefix that several branches share is computed once: the branches
   are its children. A parent stands before its children, has no parent itself, and a family (a
   parent and its children) is contiguous. */
#pragma once

#include "base/status.h"
#include "tensor/attention.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SP_NO_PARENT = -1, SP_NO_TARGET = -1 };

/* The two models that a chain may hold, and the rows that each reads. */
typedef enum sp_side { SP_ENCODER, SP_DECODER, SP_N_SIDES } sp_side;

/* The losses, each a mean over its own targets (pcc.md §3); a run has the first two, or the answers'
   alone. */
typedef enum sp_loss { SP_RECONSTRUCTION, SP_COMPLETION, SP_ANSWER, SP_N_LOSSES } sp_loss;

typedef struct sp_rows {
    size_t n_rows, n_seqs;
    sp_attention_seq *seqs; /* [n_seqs]; positions start at 0, or after the parent's rows */
    uint64_t *samples;      /* [n_seqs] name the sample for dropout: (seed, epoch, sample index) */
    /* What each row's input embedding is: id >= 0 is a token; id < 0 is row -1-id of the special
       rows: the trained ones of the block that embeds, then the rows that come from the block
       before it. */
    int32_t *ids;        /* [n_rows] */
    uint32_t *positions; /* [n_rows] */
    uint32_t *rope_rows; /* [n_rows] what the side's model turns them by: it fills these before a
                            pass (model/transformer.h) */
    /* What the row after it is to be: a token, or SP_NO_TARGET. Only the decoder's are read. */
    int32_t *targets;     /* [n_rows] */
    uint8_t *target_loss; /* [n_rows], an sp_loss */
    size_t row_capacity, seq_capacity;
} sp_rows;

typedef struct sp_batch {
    sp_rows rows[SP_N_SIDES];
    /* The memory, in order: slot k is made of the final hidden states of encoder rows
       [taken[k], taken[k] + taken_rows[k]), at least one: of a memory token, or of a chunk of text. */
    size_t *taken, *taken_rows; /* [n_taken] */
    size_t n_taken, taken_capacity;
    bool is_training; /* dropout is on, and the loss block prepares gradients */

    float loss_scale[SP_N_LOSSES]; /* dL / d(sum of NLL): the loss's weight / global targets */

    /* Filled by the loss block's forward pass. */
    double loss_sum[SP_N_LOSSES];  /* sum of NLL, nats */
    size_t n_targets[SP_N_LOSSES]; /* in this batch */
    size_t n_correct[SP_N_LOSSES]; /* targets that were the most likely token */
    double *target_nll;            /* [rows with a target, in their order], or NULL */
} sp_batch;

/* Empties a batch for refilling; its memory stays. */
void sp_batch_clear(sp_batch *batch);

/* Starts a sequence at the end of one side's rows and writes its index to *seq. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_batch_add_seq(sp_batch *batch, sp_side side, int32_t parent,
                                        uint64_t sample, int32_t *seq);

/* Appends a row to the last sequence of a side, at its next position. */
SP_NODISCARD sp_status sp_batch_add_row(sp_batch *batch, sp_side side, int32_t id);

/* Gives the last row of a sequence its target. */
void sp_batch_set_target(sp_batch *batch, sp_side side, int32_t seq, int32_t target, sp_loss loss);

/* Marks the encoder's last n_rows rows, at least one, as those whose final states make the next slot's
   memory. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_batch_take_last_rows(sp_batch *batch, size_t n_rows);

void sp_batch_free(sp_batch *batch);
