/* metrics.jsonl: one JSON object a line, in a run's folder.

   A training line has step, loss_reconstruction, loss_completion (null without a target) or in
   fine-tuning loss_answer in their place, grad_norm
   (before clipping), lr, where several ratios are trained ratio (of this step), tokens (of contexts),
   tokens_per_second, flops_per_second, mfu (the share of what the ranks' products of matrices reached
   together when the run began or went on), seconds, seconds_data, seconds_communication (waiting for
   other ranks), seconds_checkpoint, skipped, and how
   evenly the ranks were busy (mpi/step_timing.h): slowest_rank, slowest_host, slowest_seconds, balance,
   bubble. Line N holds the losses before update N.
   A validation line has step and validation_… keys, of all ratios together, and where several are
   trained those of each, such as validation_loss_reconstruction_4x. Losses are mean NLL in nats. */
#pragma once

#include "base/config.h"
#include "chain/batch.h"
#include "mpi/step_timing.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct sp_metrics {
    FILE *file;         /* owned */
    char *path;         /* owned */
    bool is_of_answers; /* the caller's: losses are of answers, in place of
                           reconstruction and completion */
} sp_metrics;           /* all zero: closed */

typedef struct sp_step_metrics {
    uint64_t step;
    double loss_sum[SP_N_LOSSES];
    uint64_t n_targets[SP_N_LOSSES];
    double grad_norm, lr;
    size_t ratio;      /* of the step, where several are trained; else 0 */
    uint64_t n_tokens; /* context tokens */
    double flop, peak; /* the latter FLOP/s; 0: not known */
    double seconds, seconds_data, seconds_communication, seconds_checkpoint;
    sp_step_timing timing;
    bool is_skipped; /* no update was made */
} sp_step_metrics;

typedef struct sp_validation_sums {
    double loss_sum[SP_N_LOSSES];
    uint64_t n_targets[SP_N_LOSSES], n_correct[SP_N_LOSSES];
} sp_validation_sums;

typedef struct sp_validation_metrics {
    uint64_t step, n_segments;
    sp_validation_sums all;
    const sp_count_list *ratios;                 /* borrowed */
    sp_validation_sums by_ratio[SP_MOST_COUNTS]; /* [ratios->n_items] */
    double seconds;
} sp_validation_metrics;

/* Opens the file of the run folder for appending. Lines of steps beyond `step`, and a line that a
   killed run left half written, are taken out first, so that a resumed run holds each step once. */
SP_NODISCARD sp_status sp_metrics_open(sp_metrics *metrics, const char *run_dir, uint64_t step);

/* The share of the peak that a step reached; NaN where that is not known. */
double sp_step_mfu(const sp_step_metrics *step);

/* Appends a line. SP_IO: it cannot be written. */
SP_NODISCARD sp_status sp_metrics_write_step(sp_metrics *metrics, const sp_step_metrics *step);
SP_NODISCARD sp_status sp_metrics_write_validation(sp_metrics *metrics,
                                                   const sp_validation_metrics *validation);

void sp_metrics_close(sp_metrics *metrics);
