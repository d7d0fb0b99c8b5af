#include "run/plan.h"

#include "base/memory.h"
#include "chain/schedule.h"
#include "run/plan_node.h"
#include "run/plan_time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sp_status sp_plan_open(sp_plan *plan, const sp_run_config *config, const sp_machine *machine) {
    *plan = (sp_plan){
        .config = config, .machine = *machine, .global_batch = config->train.global_batch};
    return sp_plan_chain_open(&plan->chain, config, NULL);
}

void sp_plan_close(sp_plan *plan) {
    sp_plan_chain_close(&plan->chain);
    *plan = (sp_plan){0};
}

static size_t n_ranks_of(const sp_plan *plan) {
    return plan->machine.n_nodes * plan->machine.ranks_per_node;
}

/* As run/stages.c chooses. */
static bool cuts_folded(const sp_plan *plan) {
    if (plan->config->parallel.cut == SP_CUT_AUTO) return plan->chain.outline.shares_weights;
    return plan->config->parallel.cut == SP_CUT_FOLDED;
}

sp_status sp_plan_choice_of(sp_plan_choice *choice, const sp_plan *plan) {
    const size_t n_ranks = n_ranks_of(plan), pipeline = plan->config->parallel.pipeline;
    if (n_ranks % pipeline != 0)
        return sp_fail(SP_USAGE,
                       "parallel.pipeline: %zu does not divide %zu ranks (%zu nodes of %zu)",
                       pipeline, n_ranks, plan->machine.n_nodes, plan->machine.ranks_per_node);
    *choice = (sp_plan_choice){.pipeline = pipeline,
                               .data = n_ranks / pipeline,
                               .micro_batch = plan->config->train.micro_batch,
                               .is_folded = cuts_folded(plan) && pipeline > 1,
                               .zero = (int)plan->config->parallel.zero};
    return SP_OK;
}

/* ---- one estimate ---- */

/* What an estimate works on. Arrays are [n_blocks], owned. */
typedef struct work {
    sp_plan *plan;
    sp_plan_estimate *e;
    sp_chain *chain;
    sp_plan_cost *costs; /* of a pass as large as the step's are on average */
    double *forward_s, *backward_s;
    sp_batch largest;
    sp_plan_grid grid;
    size_t n_passes; /* of the replica with the most */
} work;

static size_t stages_per_rank(const sp_plan_choice *choice) {
    return choice->is_folded && choice->pipeline > 1 ? 2 : 1;
}

static sp_status cut(const work *w, const double *seconds) {
    sp_plan_estimate *e = w->e;
    const size_t pipeline = e->choice.pipeline, n_blocks = w->chain->n_blocks;
    const size_t fold = w->plan->chain.outline.compressor->encoder_end + 1;
    e->n_stages = pipeline * stages_per_rank(&e->choice);
    if (e->n_stages > SP_PLAN_MOST_STAGES)
        return sp_fail(SP_USAGE, "parallel.pipeline: %zu stages; a plan has at most %d",
                       e->n_stages, SP_PLAN_MOST_STAGES);
    return e->n_stages > pipeline ? sp_cut_folded(e->stages, pipeline, seconds, n_blocks, fold)
                                  : sp_cut(e->stages, pipeline, seconds, n_blocks);
}

static sp_status make_costs(work *w) {
    const sp_plan_choice *choice = &w->e->choice;
    w->grid = (sp_plan_grid){.stages = w->e->stages,
                             .pipeline = choice->pipeline,
                             .data = choice->data,
                             .global_batch = w->plan->global_batch,
                             .micro_batch = choice->micro_batch,
                             .zero = choice->zero};
    const size_t share = (w->plan->global_batch + choice->data - 1) / choice->data;
    SP_TRY(sp_plan_settle_passes(&w->grid, &w->plan->chain));
    const size_t size = w->e->pass_samples = w->grid.micro_batch;
    w->n_passes = sp_plan_n_passes(&w->grid);
    SP_TRY(sp_plan_costs(w->costs, &w->plan->chain, size));
    const double filled = (double)share / (double)(w->n_passes * size);
    for (size_t b = 0; b < w->chain->n_blocks; b++) {
        sp_plan_cost *c = &w->costs[b];
        c->flop_forward *= filled;
        c->flop_backward *= filled;
        c->adapted_forward *= filled;
        c->adapted_backward *= filled;
        c->output_bytes *= filled;
        c->kept_bytes *= filled;
        c->rows *= filled;
    }
    return sp_plan_largest_batch(&w->largest, &w->plan->chain, size);
}

/* ---- memory ---- */

static size_t count_recomputed(const sp_chain *chain) {
    size_t n = 0;
    for (size_t b = 0; b < chain->n_blocks; b++) n += chain->recomputes[b];
    return n;
}

/* Takes the node down if it needs most so far. */
static void take_node(const work *w, size_t number, const sp_node_memory *node,
                      const sp_memory *memories) {
    sp_plan_estimate *e = w->e;
    const uint64_t n_bytes = sp_memory_of_node(node, memories);
    size_t most = 0;
    if (n_bytes <= e->node_bytes) return;
    for (size_t i = 1; i < node->n_ranks; i++)
        if (sp_memory_total(&memories[i]) > sp_memory_total(&memories[most])) most = i;
    e->node_bytes = n_bytes;
    e->rank = number * node->n_ranks + most;
    e->memory = memories[most];
}

static sp_status fit_nodes(work *w, size_t n_nodes, sp_memory *memories, size_t *ranks) {
    const sp_machine *machine = &w->plan->machine;
    const size_t n_ranks = machine->ranks_per_node;
    for (size_t i = 0; i < n_nodes; i++) {
        sp_node_memory node = {.n_ranks = n_ranks, .n_bytes = machine->node_bytes};
        for (size_t k = 0; k < n_ranks; k++) ranks[k] = i * n_ranks + k;
        SP_TRY(sp_plan_fit_node(memories, &node, &w->plan->chain, &w->grid, &w->largest, ranks));
        take_node(w, i, &node, memories);
    }
    return SP_OK;
}

static sp_status fit(work *w) {
    const sp_machine *machine = &w->plan->machine;
    const size_t n_ranks = machine->ranks_per_node, pipeline = w->e->choice.pipeline;
    const size_t n_kinds = n_ranks % pipeline == 0 ? 1 : pipeline; /* of nodes, at most */
    const size_t n_nodes = n_kinds < machine->n_nodes ? n_kinds : machine->n_nodes;
    void *memories = NULL, *ranks = NULL;
    memset(w->chain->recomputes, 0, sizeof w->chain->recomputes);
    sp_status status = sp_alloc_array(&memories, n_ranks, sizeof(sp_memory), "a plan");
    if (status == SP_OK) status = sp_alloc_array(&ranks, n_ranks, sizeof(size_t), "a plan");
    if (status == SP_OK) status = fit_nodes(w, n_nodes, memories, ranks);
    free(ranks);
    free(memories);
    w->e->fits = w->e->node_bytes <= machine->node_bytes;
    w->e->n_recomputed = count_recomputed(w->chain);
    return status;
}

/* ---- time ---- */

/* Sums of a stage's blocks, and of those that train something. */
typedef struct stage_sums {
    double forward_s, backward_s, trained_forward_s, trained_backward_s;
    uint64_t n_trained;
    size_t n_groups;
} stage_sums;

static stage_sums sum_stage(const work *w, const sp_stage *stage) {
    stage_sums sums = {0};
    for (size_t b = stage->begin; b < stage->end; b++) {
        const size_t n = sp_plan_block_trained(&w->plan->chain, b);
        sums.forward_s += w->forward_s[b];
        sums.backward_s += w->backward_s[b];
        if (n == 0) continue;
        sums.trained_forward_s += w->forward_s[b];
        sums.trained_backward_s += w->backward_s[b];
        sums.n_trained += n;
        sums.n_groups++;
    }
    return sums;
}

static double bytes_on_wire(const work *w, size_t border) {
    return w->costs[border].output_bytes * (double)sp_plan_wire_bytes(w->plan->config) / 4;
}

/* Long steps are simulated in part: once the pipeline is full, each micro-batch takes as long. */
static sp_status simulate(double *seconds, const sp_pipeline_shape *shape, size_t n_micro) {
    const size_t most = 2 * shape->n_stages + 8;
    sp_schedule schedule = {0};
    double ends[2] = {0};
    for (int i = 0; i < 2; i++) {
        const size_t n = n_micro <= most ? n_micro : most - (i == 0 ? shape->n_stages : 0);
        SP_TRY(sp_schedule_make(&schedule, shape, 0, n, true));
        ends[i] = schedule.seconds;
        sp_schedule_free(&schedule);
        if (n_micro <= most) {
            *seconds = ends[i];
            return SP_OK;
        }
    }
    *seconds = ends[1] + (ends[1] - ends[0]) / (double)shape->n_stages * (double)(n_micro - most);
    return SP_OK;
}

/* The pipeline's seconds, bubble and balance, from its stages' seconds. */
static sp_status time_pipeline(work *w, const double *forward_s, const double *backward_s) {
    sp_plan_estimate *e = w->e;
    const size_t pipeline = e->choice.pipeline;
    double widest = 0, busy = 0, busiest = 0;
    for (size_t s = 0; s + 1 < e->n_stages; s++)
        widest = fmax(widest, bytes_on_wire(w, e->stages[s].end - 1));
    const sp_pipeline_shape shape = {
        .n_stages = e->n_stages,
        .n_ranks = pipeline,
        .forward_s = forward_s,
        .backward_s = backward_s,
        .transfer_s = pipeline > 1 ? sp_plan_transfer_seconds(w->plan, pipeline, widest) : 0};
    SP_TRY(simulate(&e->pipeline_s, &shape, w->n_passes));
    for (size_t r = 0; r < pipeline; r++) {
        double own = 0;
        for (size_t s = r; s < e->n_stages; s += pipeline)
            own += (forward_s[s] + backward_s[s]) * (double)w->n_passes;
        busy += own / (double)pipeline;
        busiest = fmax(busiest, own);
    }
    e->balance = busy / busiest;
    e->bubble = fmax(0, 1 - busy / e->pipeline_s); /* not below, by rounding */
    e->wire_s = pipeline > 1 ? 2 * shape.transfer_s * (double)w->n_passes : 0;
    e->wire_bytes = pipeline > 1 ? (uint64_t)(2 * widest * (double)w->n_passes) : 0;
    return SP_OK;
}

/* Gradients of the stage that trains most go while its last backward pass goes on, and with zero 2
   after each micro-batch; values come while the next forward pass does. */
static void time_exchange(work *w, const stage_sums *most) {
    sp_plan_estimate *e = w->e;
    const sp_plan *plan = w->plan;
    const sp_plan_exchange once =
        sp_plan_exchange_of(plan, &e->choice, most->n_trained, most->n_groups);
    const double times = e->choice.zero == 2 ? (double)w->n_passes : 1;
    e->full_reduce_s = times * once.seconds;
    e->full_gather_s = once.seconds;
    e->reduce_bytes = (uint64_t)(times * (double)once.n_bytes);
    e->gather_bytes = once.n_bytes;
    /* at least the last group's, which nothing is left to overlap with */
    const double last = most->n_groups > 0 ? once.seconds / (double)most->n_groups : 0;
    e->reduce_s = fmax(e->full_reduce_s - times * most->trained_backward_s, last);
    e->gather_s = fmax(e->full_gather_s - most->trained_forward_s, last);
    e->update_s = sp_plan_update_seconds(plan, (double)most->n_trained / (double)e->choice.data);
    e->agree_s = sp_plan_agree_seconds(plan);
}

static sp_status time_step(work *w) {
    sp_plan_estimate *e = w->e;
    double forward_s[SP_PLAN_MOST_STAGES], backward_s[SP_PLAN_MOST_STAGES];
    stage_sums most = {0};
    sp_plan_block_seconds(w->forward_s, w->backward_s, w->plan, w->costs);
    for (size_t s = 0; s < e->n_stages; s++) {
        const stage_sums sums = sum_stage(w, &e->stages[s]);
        forward_s[s] = sums.forward_s;
        backward_s[s] = sums.backward_s;
        if (sums.n_trained > most.n_trained) most = sums;
    }
    SP_TRY(time_pipeline(w, forward_s, backward_s));
    time_exchange(w, &most);
    e->step_s = e->pipeline_s + e->reduce_s + e->gather_s + e->update_s + e->agree_s;
    return SP_OK;
}

static sp_status estimate(work *w) {
    double *seconds = w->forward_s; /* by which a run cuts, until the stages are known */
    SP_TRY(make_costs(w));
    for (size_t b = 0; b < w->chain->n_blocks; b++)
        seconds[b] = (w->costs[b].flop_forward + w->costs[b].flop_backward) /
                     sp_plan_rate(w->plan, sp_plan_block_side(&w->plan->chain, b));
    SP_TRY(cut(w, seconds));
    for (size_t b = 0; b < sp_plan_first_run(&w->plan->chain); b++)
        w->costs[b] = (sp_plan_cost){.output_bytes = w->costs[b].output_bytes};
    w->grid.n_stages = w->e->n_stages;
    SP_TRY(fit(w));
    return time_step(w);
}

sp_status sp_plan_estimate_choice(sp_plan_estimate *made, sp_plan *plan,
                                  const sp_plan_choice *choice) {
    *made = (sp_plan_estimate){.choice = *choice};
    work w = {.plan = plan, .e = made, .chain = &plan->chain.outline.compressor->chain};
    const size_t n = w.chain->n_blocks;
    void *costs = NULL, *seconds = NULL;
    sp_status status = sp_alloc_array(&costs, n, sizeof *w.costs, "a plan");
    if (status == SP_OK) status = sp_alloc_array(&seconds, 2 * n, sizeof(double), "a plan");
    if (status == SP_OK) {
        w.costs = costs;
        w.forward_s = seconds;
        w.backward_s = w.forward_s + n;
        status = estimate(&w);
    }
    sp_batch_free(&w.largest);
    free(seconds);
    free(costs);
    return status;
}

/* ---- the best ---- */

/* Estimates so far; capacity grows by doubling. */
typedef struct found {
    sp_plan_estimate *items;
    size_t n, capacity;
    sp_plan_estimate least; /* of those that do not fit, that which needs least */
} found;

static sp_status push(found *f, const sp_plan_estimate *e) {
    if (f->n == f->capacity) {
        const size_t capacity = f->capacity > 0 ? 2 * f->capacity : 32;
        sp_plan_estimate *grown = realloc(f->items, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for a plan");
        f->items = grown;
        f->capacity = capacity;
    }
    f->items[f->n++] = *e;
    return SP_OK;
}

static sp_status add_found(found *f, const sp_plan_estimate *e) {
    if (e->fits) return push(f, e);
    if (f->least.n_stages == 0 || e->node_bytes < f->least.node_bytes) f->least = *e;
    return SP_OK;
}

/* Both cuts and all micro-batches of one pipeline. */
static sp_status try_pipeline(found *f, sp_plan *plan, sp_plan_choice choice) {
    enum { MOST_MICRO_BATCH = 64 };
    const size_t share = (plan->global_batch + choice.data - 1) / choice.data;
    for (int is_folded = 0; is_folded < (choice.pipeline > 1 ? 2 : 1); is_folded++)
        for (size_t micro = 1; micro <= share && micro <= MOST_MICRO_BATCH; micro *= 2) {
            sp_plan_estimate e;
            choice.is_folded = is_folded;
            choice.micro_batch = micro;
            const sp_status status = sp_plan_estimate_choice(&e, plan, &choice);
            if (status == SP_USAGE) break; /* too many ranks for the chain */
            if (status != SP_OK) return status;
            if (e.pass_samples < micro) break; /* so does every larger one */
            SP_TRY(add_found(f, &e));
        }
    return SP_OK;
}

static int compare(const void *a, const void *b) {
    const double x = ((const sp_plan_estimate *)a)->step_s;
    const double y = ((const sp_plan_estimate *)b)->step_s;
    return (x > y) - (x < y);
}

static sp_status try_all(found *f, sp_plan *plan) {
    const size_t n_ranks = n_ranks_of(plan), n_blocks = sp_plan_blocks(&plan->chain)->n_blocks;
    for (size_t pipeline = 1; pipeline <= n_ranks && pipeline <= n_blocks; pipeline++) {
        if (n_ranks % pipeline != 0) continue;
        const size_t data = n_ranks / pipeline;
        /* replicas without a sample only wait, unless there is no other grid */
        if (data > plan->global_batch && 2 * pipeline <= n_blocks) continue;
        SP_TRY(try_pipeline(f, plan,
                            (sp_plan_choice){.pipeline = pipeline,
                                             .data = data,
                                             .zero = (int)plan->config->parallel.zero}));
    }
    if (f->n > 0) return SP_OK;
    if (f->least.n_stages > 0) return push(f, &f->least);
    return sp_fail(SP_USAGE, "no grid of %zu ranks fits a chain of %zu blocks and a batch of %zu",
                   n_ranks, n_blocks, plan->global_batch);
}

sp_status sp_plan_search(sp_plan_estimate **estimates, size_t *n, sp_plan *plan) {
    found f = {0};
    const sp_status status = try_all(&f, plan);
    if (status != SP_OK) {
        free(f.items);
        return status;
    }
    qsort(f.items, f.n, sizeof *f.items, compare);
    *estimates = f.items;
    *n = f.n;
    return SP_OK;
}

/* ---- figures ---- */

sp_status sp_plan_flop(double *flop, const sp_plan *plan, size_t begin, size_t end) {
    void *costs = NULL;
    SP_TRY(sp_alloc_array(&costs, sp_plan_blocks(&plan->chain)->n_blocks, sizeof(sp_plan_cost),
                          "a plan"));
    const sp_plan_cost *of = costs;
    const sp_status status = sp_plan_costs(costs, &plan->chain, 1);
    *flop = 0;
    const size_t first = sp_plan_first_run(&plan->chain);
    for (size_t b = begin > first ? begin : first; b < end && status == SP_OK; b++)
        *flop += of[b].flop_forward + of[b].flop_backward;
    free(costs);
    return status;
}

double sp_plan_hours(const sp_plan *plan, const sp_plan_estimate *estimate) {
    return (double)plan->chain.data.n_steps * estimate->step_s / 3600;
}

sp_status sp_plan_refuse(const sp_plan *plan, const sp_plan_estimate *e,
                         const sp_plan_estimate *best) {
    char hint[160];
    if (e->fits) return SP_OK;
    if (best != NULL && best->fits)
        snprintf(hint, sizeof hint,
                 "what fits here: parallel.pipeline %zu%s, train.micro_batch %zu",
                 best->choice.pipeline, best->choice.is_folded ? " folded" : "",
                 best->choice.micro_batch);
    else
        snprintf(hint, sizeof hint, "no grid of these ranks fits");
    const sp_node_memory node = {.n_ranks = plan->machine.ranks_per_node,
                                 .n_bytes = plan->machine.node_bytes,
                                 .source = "--memory"};
    return sp_memory_refuse(&node, e->node_bytes, e->rank, &e->memory, hint);
}
