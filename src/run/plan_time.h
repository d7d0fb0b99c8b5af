/* Seconds of a plan: of blocks, by a roofline, and of messages, by latency and bandwidth. Equations and
   sources: mpi/README.md. */
#pragma once

#include "run/plan.h"

/* FLOP/s of one rank with the frozen weights of a side. */
double sp_plan_rate(const sp_plan *plan, sp_side side);

/* Writes forward_s and backward_s [n_blocks] of costs [n_blocks] on one rank. Recomputed blocks' are
   as the chain says. */
void sp_plan_block_seconds(double *forward_s, double *backward_s, const sp_plan *plan,
                           const sp_plan_cost *costs);

/* Seconds that a message of n_bytes takes between neighbours of a pipeline. */
double sp_plan_transfer_seconds(const sp_plan *plan, size_t pipeline, double n_bytes);

/* A reduction or gathering of a step over a data group. */
typedef struct sp_plan_exchange {
    double seconds;
    uint64_t n_bytes; /* that one rank sends */
} sp_plan_exchange;

/* Of a rank's n_values trained values in n_groups messages, in f32: the reduce-scatter of their
   gradients, or the all-gather of their values, which move as much. */
sp_plan_exchange sp_plan_exchange_of(const sp_plan *plan, const sp_plan_choice *choice,
                                     uint64_t n_values, size_t n_groups);

/* Seconds of AdamW's update, and of the norm before it, for n_values of one rank. */
double sp_plan_update_seconds(const sp_plan *plan, double n_values);

/* Seconds of the few agreements of all ranks in a step. */
double sp_plan_agree_seconds(const sp_plan *plan);
