#include "run/stage_runner.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* A micro-batch in one stage, from forward to backward. */
typedef struct in_flight {
    sp_batch batch;
    sp_pass pass;
} in_flight;

/* One of this rank's stages. */
typedef struct own_stage {
    size_t index, begin, end; /* blocks [begin, end) */
    in_flight *slots;         /* [n_slots], owned: micro-batch m at m % n_slots */
    size_t n_slots;
} own_stage;

enum { MOST_OWN_STAGES = 2 };

/* What the micro-batches are made of. */
typedef struct batch_job {
    bool is_training;
    uint64_t step, begin, end;      /* this replica's stream positions; of validation: segments */
    size_t first_group, n_replicas; /* of validation: micro-batch m is group first + m n_replicas */
    size_t ratio;                   /* of validation */
    const float *loss_scale;
} batch_job;

struct sp_stage_runner {
    sp_stage_runner_parts parts;
    sp_wire *wire;
    own_stage stages[MOST_OWN_STAGES];
    size_t n_stages;
    sp_schedule schedule; /* of the last kind and number of micro-batches */
    size_t n_micro;
    bool schedule_is_training;
    sp_workspace workspace;
};

/* ---- making ---- */

static sp_status allocate(sp_stage_runner *runner) {
    const sp_stages *stages = runner->parts.stages;
    for (size_t s = stages->rank; s < stages->n_stages; s += stages->n_ranks) {
        own_stage *stage = &runner->stages[runner->n_stages++];
        void *slots = NULL;
        *stage = (own_stage){.index = s,
                             .begin = stages->stages[s].begin,
                             .end = stages->stages[s].end,
                             .n_slots = sp_stage_in_flight(stages->n_stages, stages->n_ranks, s)};
        SP_TRY(sp_alloc_array(&slots, stage->n_slots, sizeof(in_flight), "micro-batches"));
        stage->slots = slots;
    }
    return sp_wire_create(&runner->wire, runner->parts.grid, runner->parts.wire_is_bf16);
}

sp_status sp_stage_runner_create(sp_stage_runner **runner, const sp_stage_runner_parts *parts) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **runner, "a pipeline"));
    sp_stage_runner *made = block;
    made->parts = *parts;
    const sp_status status = allocate(made);
    if (status != SP_OK)
        sp_stage_runner_destroy(made);
    else
        *runner = made;
    return status;
}

void sp_stage_runner_destroy(sp_stage_runner *runner) {
    if (runner == NULL) return;
    for (size_t i = 0; i < runner->n_stages; i++) {
        own_stage *stage = &runner->stages[i];
        for (size_t k = 0; stage->slots != NULL && k < stage->n_slots; k++) {
            sp_batch_free(&stage->slots[k].batch);
            sp_pass_release(&stage->slots[k].pass);
        }
        free(stage->slots);
    }
    sp_wire_destroy(runner->wire);
    sp_schedule_free(&runner->schedule);
    sp_workspace_release(&runner->workspace);
    free(runner);
}

/* ---- one operation ---- */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static sp_status fill(sp_stage_runner *runner, const batch_job *job, size_t m, sp_batch *batch) {
    sp_samples *samples = runner->parts.samples;
    const uint64_t size = runner->parts.pass_samples;
    if (!job->is_training) {
        const uint64_t group = job->first_group + m * job->n_replicas;
        const uint64_t begin = least(group * size, job->end);
        samples->layout.ratio = job->ratio;
        return sp_samples_fill_segments(samples, batch, samples->held_out + begin,
                                        (size_t)(least(begin + size, job->end) - begin));
    }
    const uint64_t begin = least(job->begin + m * size, job->end);
    memcpy(batch->loss_scale, job->loss_scale, sizeof batch->loss_scale);
    return sp_samples_fill(samples, batch, begin, least(begin + size, job->end));
}

static void at(const sp_stage_runner *runner, sp_phase phase, const batch_job *job,
               const sp_operation *operation, size_t block) {
    sp_watchdog_at(runner->parts.watchdog, phase, job->step, operation->micro_batch, block);
}

static size_t n_in_values(const sp_block *block, const sp_batch *batch) {
    return block->kind->n_in_rows(block, batch) * block->n_in;
}

static size_t n_out_values(const sp_block *block, const sp_batch *batch) {
    return block->kind->n_out_rows(block, batch) * block->n_out;
}

/* The rank of the pipeline that runs a stage. */
static size_t rank_of(const sp_stage_runner *runner, size_t stage) {
    return stage % runner->parts.stages->n_ranks;
}

static sp_status receive_input(sp_stage_runner *runner, const own_stage *stage, size_t m, float *x,
                               const sp_batch *batch) {
    const sp_block *first = runner->parts.compressor->chain.blocks[stage->begin];
    return sp_wire_receive(runner->wire, rank_of(runner, stage->index - 1),
                           (sp_transfer){stage->index, m, false}, x, n_in_values(first, batch));
}

static sp_status send_output(sp_stage_runner *runner, const own_stage *stage, size_t m,
                             const float *y, const sp_batch *batch) {
    const sp_block *last = runner->parts.compressor->chain.blocks[stage->end - 1];
    return sp_wire_send(runner->wire, rank_of(runner, stage->index + 1),
                        (sp_transfer){stage->index + 1, m, false}, y, n_out_values(last, batch));
}

static void add_losses(sp_stage_sums *sums, const sp_batch *batch) {
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        sums->loss_sum[loss] += batch->loss_sum[loss];
        sums->n_targets[loss] += batch->n_targets[loss];
        sums->n_correct[loss] += batch->n_correct[loss];
    }
}

/* Runs blocks [begin, end) on x; what backward wants is kept in the pass of a micro-batch that trains
   them, and is dropped if there is none. */
static float *run_blocks(sp_stage_runner *runner, const batch_job *job,
                         const sp_operation *operation, size_t begin, size_t end, in_flight *slot,
                         float *x, bool is_kept, double *waited_s) {
    const sp_chain *chain = &runner->parts.compressor->chain;
    for (size_t i = begin; i < end; i++) {
        at(runner, job->is_training ? SP_PHASE_FORWARD : SP_PHASE_VALIDATE, job, operation, i);
        const double wait_s = sp_clock_seconds();
        sp_reducer_wait_values(runner->parts.reducer, i);
        *waited_s += sp_clock_seconds() - wait_s;
        x = is_kept
                ? sp_pass_forward(&slot->pass, chain, i, i + 1, &slot->batch, x, &runner->workspace)
                : sp_chain_run(chain, i, i + 1, &slot->batch, x, &runner->workspace);
    }
    return x;
}

/* The first block of a stage that is run, or its end. */
static size_t run_begin(const sp_stage_runner *runner, const own_stage *stage) {
    const size_t first =
        runner->parts.states != NULL ? runner->parts.compressor->encoder_end : stage->begin;
    if (first >= stage->end) return stage->end;
    return first > stage->begin ? first : stage->begin;
}

/* Where what a micro-batch trains begins among the blocks [begin, end); end: nowhere. */
static size_t kept_begin(const sp_stage_runner *runner, const batch_job *job, size_t begin,
                         size_t end) {
    const size_t first = runner->parts.compressor->first_trained;
    if (!job->is_training || first >= end) return end;
    return first > begin ? first : begin;
}

/* Where x of the stage's first block goes. */
static float *input_of(sp_stage_runner *runner, in_flight *slot, size_t begin, size_t kept) {
    if (kept > begin) return runner->workspace.turns[(begin + 1) % 2];
    return sp_pass_input(&slot->pass, &runner->parts.compressor->chain, begin, &slot->batch);
}

/* Fills the input of block `begin`: from states, or from the stage before. */
static sp_status bring_input(sp_stage_runner *runner, const batch_job *job,
                             const sp_operation *operation, const own_stage *stage, size_t begin,
                             float *x, const sp_batch *batch) {
    const sp_samples *samples = runner->parts.samples;
    if (runner->parts.states == NULL || begin > runner->parts.compressor->encoder_end) {
        at(runner, SP_PHASE_NEIGHBOUR, job, operation, begin);
        return receive_input(runner, stage, operation->micro_batch, x, batch);
    }
    at(runner, SP_PHASE_DATA, job, operation, begin);
    for (size_t i = 0; i < samples->n_filled; i++)
        x += sp_encoder_states_copy(runner->parts.states, x, samples->filled[i]);
    return SP_OK;
}

/* Takes what frozen blocks have made along to the first one that is trained. */
static sp_status hand_on(sp_stage_runner *runner, in_flight *slot, size_t kept, size_t end,
                         float **x) {
    const sp_chain *chain = &runner->parts.compressor->chain;
    const size_t n_values = n_in_values(chain->blocks[kept], &slot->batch);
    float *input = sp_pass_input(&slot->pass, chain, kept, &slot->batch);
    if (n_values > 0) memcpy(input, *x, n_values * sizeof *input);
    *x = input;
    return sp_workspace_reserve(&runner->workspace, chain, kept, end, &slot->batch, true);
}

static sp_status forward(sp_stage_runner *runner, const batch_job *job,
                         const sp_operation *operation, own_stage *stage, sp_stage_sums *sums) {
    sp_compressor *c = runner->parts.compressor;
    const size_t m = operation->micro_batch, begin = run_begin(runner, stage), end = stage->end;
    const size_t kept = kept_begin(runner, job, begin, end);
    if (begin == end) return SP_OK;
    in_flight *slot = &stage->slots[m % stage->n_slots];
    const double begin_s = sp_clock_seconds();
    at(runner, SP_PHASE_DATA, job, operation, SP_NOWHERE);
    SP_TRY(fill(runner, job, m, &slot->batch));
    SP_TRY(sp_compressor_reserve(c, &slot->batch, kept < end ? kept : begin, end,
                                 kept < end ? &slot->pass : NULL, &runner->workspace));
    if (kept > begin && kept < end)
        SP_TRY(
            sp_workspace_reserve(&runner->workspace, &c->chain, begin, kept, &slot->batch, false));
    sums->seconds_data += sp_clock_seconds() - begin_s;
    float *x = NULL;
    if (begin > 0) {
        x = input_of(runner, slot, begin, kept);
        SP_TRY(bring_input(runner, job, operation, stage, begin, x, &slot->batch));
    }
    const double busy_s = sp_clock_seconds();
    double waited_s = 0;
    x = run_blocks(runner, job, operation, begin, kept, slot, x, false, &waited_s);
    if (kept > begin && kept < end) SP_TRY(hand_on(runner, slot, kept, end, &x));
    x = run_blocks(runner, job, operation, kept, end, slot, x, true, &waited_s);
    sums->seconds_busy += sp_clock_seconds() - busy_s - waited_s;
    if (end < c->chain.n_blocks) return send_output(runner, stage, m, x, &slot->batch);
    add_losses(sums, &slot->batch);
    return SP_OK;
}

static double run_flop(const sp_compressor *c, size_t begin, size_t end, const sp_batch *batch) {
    double flop = 0;
    for (size_t i = begin; i < end; i++) {
        const sp_block *block = c->chain.blocks[i];
        const sp_cost cost = block->kind->cost(block, batch);
        flop += cost.flop_forward + (i >= c->first_trained ? cost.flop_backward : 0);
    }
    return flop;
}

/* Blocks that train nothing, and have nothing before them that does: their groups are empty. */
static void pass_over(sp_stage_runner *runner, size_t m, size_t begin, size_t end) {
    for (size_t i = end; i-- > begin;) {
        sp_reducer_before_backward(runner->parts.reducer, i);
        sp_reducer_after_backward(runner->parts.reducer, i, m + 1 == runner->n_micro);
    }
}

static sp_status backward(sp_stage_runner *runner, const batch_job *job,
                          const sp_operation *operation, own_stage *stage, sp_stage_sums *sums) {
    const sp_chain *chain = &runner->parts.compressor->chain;
    const size_t m = operation->micro_batch;
    in_flight *slot = &stage->slots[m % stage->n_slots];
    sp_workspace *workspace = &runner->workspace;
    const size_t kept = kept_begin(runner, job, stage->begin, stage->end);
    sums->flop +=
        run_flop(runner->parts.compressor, run_begin(runner, stage), stage->end, &slot->batch);
    if (kept == stage->end) {
        pass_over(runner, m, stage->begin, stage->end);
        return SP_OK;
    }
    SP_TRY(sp_workspace_reserve(workspace, chain, kept, stage->end, &slot->batch, true));
    float *dy = NULL;
    if (stage->end < chain->n_blocks) {
        at(runner, SP_PHASE_NEIGHBOUR, job, operation, stage->end - 1);
        dy = workspace->turns[stage->end % 2];
        SP_TRY(sp_wire_receive(runner->wire, rank_of(runner, stage->index + 1),
                               (sp_transfer){stage->index, m, true}, dy,
                               n_out_values(chain->blocks[stage->end - 1], &slot->batch)));
    }
    const double busy_s = sp_clock_seconds();
    double waited_s = 0;
    for (size_t i = stage->end; i-- > kept;) {
        at(runner, SP_PHASE_BACKWARD, job, operation, i);
        const double wait_s = sp_clock_seconds();
        sp_reducer_before_backward(runner->parts.reducer, i);
        waited_s += sp_clock_seconds() - wait_s;
        dy = sp_pass_backward(&slot->pass, chain, i, i + 1, &slot->batch, dy, workspace);
        sp_reducer_after_backward(runner->parts.reducer, i, m + 1 == runner->n_micro);
    }
    sums->seconds_busy += sp_clock_seconds() - busy_s - waited_s;
    pass_over(runner, m, stage->begin, kept);
    if (stage->begin <= runner->parts.compressor->first_trained) return SP_OK;
    return sp_wire_send(runner->wire, rank_of(runner, stage->index - 1),
                        (sp_transfer){stage->index - 1, m, true}, dy,
                        n_in_values(chain->blocks[stage->begin], &slot->batch));
}

/* ---- all of them ---- */

static sp_status schedule(sp_stage_runner *runner, size_t n_micro, bool is_training) {
    if (runner->schedule.operations != NULL && runner->n_micro == n_micro &&
        runner->schedule_is_training == is_training)
        return SP_OK;
    const sp_pipeline_shape shape = sp_stages_shape(runner->parts.stages);
    SP_TRY(sp_schedule_make(&runner->schedule, &shape, runner->parts.stages->rank, n_micro,
                            is_training));
    runner->n_micro = n_micro;
    runner->schedule_is_training = is_training;
    return SP_OK;
}

static sp_status run(sp_stage_runner *runner, const batch_job *job, size_t n_micro,
                     sp_stage_sums *sums) {
    SP_TRY(schedule(runner, n_micro, job->is_training));
    for (size_t i = 0; i < runner->schedule.n_operations; i++) {
        const sp_operation *operation = &runner->schedule.operations[i];
        own_stage *stage = &runner->stages[operation->stage / runner->parts.stages->n_ranks];
        SP_TRY(operation->is_backward ? backward(runner, job, operation, stage, sums)
                                      : forward(runner, job, operation, stage, sums));
    }
    return SP_OK;
}

sp_status sp_stage_runner_train(sp_stage_runner *runner, sp_stage_sums *sums, uint64_t step,
                                uint64_t begin, uint64_t end, const float *loss_scale) {
    const uint64_t n = end - begin, rank = sp_grid_data_rank(runner->parts.grid);
    const uint64_t n_replicas = sp_grid_data_size(runner->parts.grid);
    const uint64_t most = sp_divide_up(n, n_replicas); /* of any replica */
    const batch_job job = {.is_training = true,
                           .step = step,
                           .begin = begin + n * rank / n_replicas,
                           .end = begin + n * (rank + 1) / n_replicas,
                           .loss_scale = loss_scale};
    return run(runner, &job, sp_divide_up(most, runner->parts.pass_samples), sums);
}

sp_status sp_stage_runner_validate(sp_stage_runner *runner, sp_stage_sums *sums, uint64_t step,
                                   size_t n_segments, size_t ratio) {
    const size_t n_replicas = sp_grid_data_size(runner->parts.grid);
    const size_t n_groups = sp_divide_up(n_segments, runner->parts.pass_samples);
    const batch_job job = {.step = step,
                           .end = n_segments,
                           .first_group = sp_grid_data_rank(runner->parts.grid),
                           .n_replicas = n_replicas,
                           .ratio = ratio};
    return run(runner, &job, sp_divide_up(n_groups, n_replicas), sums);
}
