/* The samples of a run: which segments are trained on or held out, in which order they come, and
   the micro-batches made of them.

   A document is held out by its content hash, so that the choice survives a re-tokenization. The
   sample stream is the concatenation of the epochs' permutations of the training segments; step s,
   from 1, takes samples [(s - 1) B, s B), the last step of a budget or of the epochs what is left of
   it. Nothing here depends on a rank.

   Of several ratios each step draws one, from the seed and its number alone: every ratio once in as
   many steps as there are ratios, in a random order.

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
    sp_count_list ratios; /* a batch to train on has its step's one, others have layout.ratio */
    uint64_t global_batch, seed;
    double draws_completion; /* share of samples that complete, where one objective is drawn */
    bool draws_one, reconstructs, completes;
    uint32_t *trained, *held_out; /* segments, or tasks, in file order, owned */
    size_t n_trained, n_held_out;
    uint64_t n_taken; /* stream positions that all steps take together; UINT64_MAX: whole batches */
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

/* Settles how many optimiser steps the configuration comes to: train.steps, or else those that take
   the first samples of the stream whose encoder tokens reach data.budget_tokens, or where there is no
   budget, data.epochs. SP_USAGE: a budget beyond the corpus. */
SP_NODISCARD sp_status sp_samples_settle_steps(sp_samples *samples, size_t *n_steps,
                                               const sp_run_config *config);

/* Stream positions [begin, end). */
typedef struct sp_sample_range {
    uint64_t begin, end;
} sp_sample_range;

/* What a step, from 1, takes; after settling. */
sp_sample_range sp_samples_of_step(const sp_samples *samples, const sp_run_config *config,
                                   uint64_t step);

/* The ratio of a step, from 1. */
size_t sp_samples_ratio_of_step(const sp_samples *samples, uint64_t step);

/* Encoder tokens, and targets of each loss, of stream positions [begin, end). */
typedef struct sp_sample_counts {
    uint64_t tokens, targets[SP_N_LOSSES];
} sp_sample_counts;
sp_sample_counts sp_samples_count(const sp_samples *samples, uint64_t begin, uint64_t end);

/* The segment, or task, that stream position `position` is. */
uint32_t sp_samples_segment(const sp_samples *samples, uint64_t position);

/* Fills the batch with stream positions [begin, end), for training, each at the ratio of its step;
   layout.ratio is then that of the last. */
SP_NODISCARD sp_status sp_samples_fill(sp_samples *samples, sp_batch *batch, uint64_t begin,
                                       uint64_t end);

/* Fills the batch with n segments of the file, or n tasks, without dropout, with both objectives where they are
   trained, at layout.ratio. */
SP_NODISCARD sp_status sp_samples_fill_segments(sp_samples *samples, sp_batch *batch,
                                                const uint32_t *segments, size_t n);
