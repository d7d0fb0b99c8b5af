/* What a run would take on machines that are not here: the plan of a configuration on a grid, and the
   best grid. From the run's own blocks (plan_chain.h), cut (chain/cut.h), schedule (chain/schedule.h)
   and memory items (plan_memory.h), with rates of a CPU and a network (plan_machine.h).

   Seconds of a block for a micro-batch, on a rank's share of its node's cores:

       forward   = FLOP in f32 / rate(f32) + other FLOP / rate(precision)
                   + FORWARD_TRAFFIC (output + kept bytes) / bandwidth
       backward  = likewise with BACKWARD_TRAFFIC, and forward once more where it is recomputed

   A step = the schedule's simulation over these + gradients that did not overlap + the update + values
   that did not overlap + agreement. The equations of communication, and how well all this agrees with
   measured runs, are in mpi/README.md. */
#pragma once

#include "run/plan_chain.h"
#include "run/plan_machine.h"
#include "run/plan_memory.h"

typedef struct sp_plan_choice {
    size_t pipeline, data; /* their product is the number of ranks */
    size_t micro_batch;    /* segments */
    bool is_folded;
    int zero; /* 1 or 2 */
} sp_plan_choice;

typedef struct sp_plan {
    const sp_run_config *config; /* borrowed */
    sp_plan_chain chain;
    sp_machine machine;
    size_t global_batch; /* segments in a step */
} sp_plan;               /* all zero: empty */

enum { SP_PLAN_MOST_STAGES = 256 };

typedef struct sp_plan_estimate {
    sp_plan_choice choice;
    size_t pass_samples; /* that go through at once; a micro-batch may be several passes */

    /* memory: of the node that needs most, and in it of the rank that does */
    uint64_t node_bytes;
    size_t rank;
    sp_memory memory;
    bool fits;
    size_t n_recomputed; /* layers, over all ranks of a pipeline */

    /* time: seconds of a step, and its parts */
    double step_s, pipeline_s, reduce_s, gather_s, update_s, agree_s; /* reduce, gather: exposed */
    double bubble;  /* share of pipeline_s in which a mean rank waits */
    double balance; /* mean busy seconds over the busiest rank's */
    double wire_s, full_reduce_s, full_gather_s;     /* whether or not they overlap */
    uint64_t wire_bytes, reduce_bytes, gather_bytes; /* sent by a rank in a step, the most */

    size_t n_stages;
    sp_stage stages[SP_PLAN_MOST_STAGES];
} sp_plan_estimate;

/* Opens the chain of `config` for `machine` (copied) into *plan, which stays where it is. */
SP_NODISCARD sp_status sp_plan_open(sp_plan *plan, const sp_run_config *config,
                                    const sp_machine *machine);
void sp_plan_close(sp_plan *plan);

/* The grid that the configuration itself asks for. SP_USAGE: it does not divide the ranks. */
SP_NODISCARD sp_status sp_plan_choice_of(sp_plan_choice *choice, const sp_plan *plan);

/* Estimates one choice. SP_USAGE: the chain cannot be cut so; SP_FAILURE: no memory. The chain's
   `recomputes` are left as the estimate wants them. */
SP_NODISCARD sp_status sp_plan_estimate_choice(sp_plan_estimate *estimate, sp_plan *plan,
                                               const sp_plan_choice *choice);

/* Estimates all choices worth it: every pipeline that divides the ranks, both cuts, micro-batches by
   powers of two up to a full pass. The best that fit come first in *estimates, owned, of which *n are there; if none
   fits, the one that needs least, alone. */
SP_NODISCARD sp_status sp_plan_search(sp_plan_estimate **estimates, size_t *n, sp_plan *plan);

/* Training FLOP of a mean segment, and of blocks [begin, end) of it. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_plan_flop(double *flop, const sp_plan *plan, size_t begin, size_t end);

/* Hours for all steps of the run; 0 if their number is unknown. */
double sp_plan_hours(const sp_plan *plan, const sp_plan_estimate *estimate);

/* Refuses (SP_USAGE) an estimate that does not fit, as sp_memory_check() does; `best`, unless NULL, is
   what would fit. */
SP_NODISCARD sp_status sp_plan_refuse(const sp_plan *plan, const sp_plan_estimate *estimate,
                                      const sp_plan_estimate *best);
