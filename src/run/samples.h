/* The samples of a run: which segments are trained on or held out, in which order they come, and
   the micro-batches made of them.

   A document is held out by its content hash, so that the choice survives a re-tokenization. The
   sample stream is the concatenation of the epochs' permutations of the training segments; step s,
   from 1, takes samples [(s - 1) B, s B). Nothing here depends on a rank.

   In fine-tuning the samples are rows (run/task_set.h) in place of segments; all else is the same. */
#pragma once

#include "io/tokens_file.h"
#include "pcc/layout.h"
#include "run/run_config.h"
#include "run/task_set.h"

typedef struct sp_samples {
    const sp_tokens *tokens;  /* borrowed; NULL where there are tasks */
    const sp_task_set *tasks; /* borrowed, or NULL */
    size_t encoder_stream, decoder_stream;
    sp_layout layout;
    uint64_t seed;
    double draws_completion; /* share of samples that complete, where one objective is drawn */
    bool draws_one, reconstructs, completes;
    uint32_t *trained, *held_out; /* segments, or tasks, in file order, owned */
    size_t n_trained, n_held_out;
    uint32_t *filled; /* [n_filled], owned: tasks of the batch that was filled last */
    size_t n_filled, filled_capacity;
    int32_t *ids; /* scratch for one segment's ids in three streams, owned */
    size_t ids_capacity;
} sp_samples;

/* Chooses the segments that `config` asks for. The layout's bos and eos are the decoder's, which the
   caller sets before a batch is filled or targets are counted. SP_USAGE: a stream is not there,
   segment.tokens is not the file's, a segment wants more slots than there are memory tokens;
   SP_BAD_DATA: no segment is left to train on. */
SP_NODISCARD sp_status sp_samples_open(sp_samples *samples, const sp_tokens *tokens,
                                       const sp_run_config *config);

/* The same over rows, which `config` has been read with. */
SP_NODISCARD sp_status sp_samples_open_tasks(sp_samples *samples, const sp_task_set *tasks,
                                             const sp_run_config *config);
void sp_samples_close(sp_samples *samples);

/* Optimiser steps that the configuration comes to: train.steps, or what data.budget_tokens and
   data.epochs allow. SP_USAGE: a budget beyond the corpus. */
SP_NODISCARD sp_status sp_samples_n_steps(size_t *n_steps, const sp_samples *samples,
                                          const sp_run_config *config);

/* Encoder tokens, and targets of each loss, of stream positions [begin, end). */
typedef struct sp_sample_counts {
    uint64_t tokens, targets[SP_N_LOSSES];
} sp_sample_counts;
sp_sample_counts sp_samples_count(const sp_samples *samples, uint64_t begin, uint64_t end);

/* The segment, or task, that stream position `position` is. */
uint32_t sp_samples_segment(const sp_samples *samples, uint64_t position);

/* Fills the batch with stream positions [begin, end), for training. */
SP_NODISCARD sp_status sp_samples_fill(sp_samples *samples, sp_batch *batch, uint64_t begin,
                                       uint64_t end);

/* Fills the batch with n segments of the file, or n tasks, without dropout, with both objectives where they are
   trained. */
SP_NODISCARD sp_status sp_samples_fill_segments(sp_samples *samples, sp_batch *batch,
                                                const uint32_t *segments, size_t n);
