#include "run/plan_node.h"

#include "base/memory.h"
#include "base/size.h"
#include "chain/schedule.h"

#include <stdlib.h>
#include <string.h>

/* A replica's segments, at most. */
static size_t share_of(const sp_plan_grid *grid) {
    return sp_divide_up(grid->global_batch, grid->data);
}

/* Of a sample, over the products that are run. */
static sp_status mean_rows(double *rows, const sp_plan_chain *plan) {
    const size_t n_blocks = sp_plan_blocks(plan)->n_blocks;
    void *costs = NULL;
    SP_TRY(sp_alloc_array(&costs, n_blocks, sizeof(sp_plan_cost), "a plan"));
    const sp_plan_cost *of = costs;
    const sp_status status = sp_plan_costs(costs, plan, 1);
    double flop = 0, flop_rows = 0;
    for (size_t b = sp_plan_first_run(plan); b < n_blocks && status == SP_OK; b++) {
        flop += of[b].flop_forward + of[b].flop_backward;
        flop_rows += (of[b].flop_forward + of[b].flop_backward) * of[b].rows;
    }
    *rows = flop > 0 ? flop_rows / flop : 0;
    free(costs);
    return status;
}

sp_status sp_plan_settle_passes(sp_plan_grid *grid, const sp_plan_chain *plan) {
    const size_t share = share_of(grid);
    double rows = 0;
    if (grid->micro_batch > share) grid->micro_batch = share;
    if (grid->zero == 2 && grid->data > 1) return SP_OK;
    SP_TRY(mean_rows(&rows, plan));
    grid->micro_batch = sp_pass_samples(grid->micro_batch, rows);
    return SP_OK;
}

size_t sp_plan_n_passes(const sp_plan_grid *grid) {
    return sp_divide_up(share_of(grid), grid->micro_batch);
}

/* What the ranks' memory is worked out with; has_block [n_blocks] is scratch. */
typedef struct fitting {
    sp_plan_chain *plan;
    sp_chain *chain;
    const sp_plan_grid *grid;
    const sp_batch *largest;
    bool *has_block;
} fitting;

static void mark_blocks(const fitting *f, size_t pipeline_rank) {
    for (size_t s = pipeline_rank; s < f->grid->n_stages; s += f->grid->pipeline)
        for (size_t b = f->grid->stages[s].begin; b < f->grid->stages[s].end; b++)
            f->has_block[b] = true;
}

static void clear_blocks(const fitting *f) {
    memset(f->has_block, 0, f->chain->n_blocks * sizeof *f->has_block);
}

static sp_rank_share share_of_rank(const fitting *f, size_t pipeline_rank) {
    const sp_plan_grid *grid = f->grid;
    const sp_run_config *config = f->plan->config;
    const size_t n_passes = sp_plan_n_passes(grid);
    clear_blocks(f);
    mark_blocks(f, pipeline_rank);
    const sp_plan_weights weights = sp_plan_weights_of(f->plan, f->has_block);
    sp_rank_share share = {.chain = f->chain,
                           .batch = f->largest,
                           .weights_mapped = weights.mapped,
                           .weights_copied = weights.copied,
                           .weights_file = weights.file,
                           .first_trained = f->plan->outline.compressor->first_trained,
                           .data = grid->data,
                           .zero = grid->zero,
                           .wire_bytes = sp_plan_wire_bytes(config),
                           .token_bytes = f->plan->data.n_bytes,
                           .is_in_pipeline = grid->pipeline > 1};
    for (size_t s = pipeline_rank; s < grid->n_stages; s += grid->pipeline) {
        const size_t most = sp_stage_in_flight(grid->n_stages, grid->pipeline, s);
        share.stages[share.n_stages] = grid->stages[s];
        share.in_flight[share.n_stages++] = most < n_passes ? most : n_passes;
        for (size_t b = grid->stages[s].begin; b < grid->stages[s].end; b++) {
            const size_t n = sp_plan_block_trained(f->plan, b);
            share.n_trained += n;
            share.weights_copied += sp_plan_block_frozen(f->plan, b) * sizeof(float);
            if (n > share.largest_group) share.largest_group = n;
        }
    }
    return share;
}

static void choose_recompute(const fitting *f, const sp_rank_share *share,
                             const sp_node_memory *node) {
    const sp_memory weights = {.items = {[SP_MEMORY_MAPPED] = share->weights_mapped}};
    uint64_t n_bytes = sp_memory_budget(node, &weights);
    if (f->plan->config->train.recompute == SP_RECOMPUTE_NONE) n_bytes = UINT64_MAX;
    if (f->plan->config->train.recompute == SP_RECOMPUTE_ALL) n_bytes = 0;
    (void)sp_memory_choose_recompute(f->chain, share, n_bytes);
}

/* The place in `ranks` before i of a replica of the same stages, or i. */
static size_t twin_of(const size_t *ranks, size_t i, size_t pipeline) {
    for (size_t k = 0; k < i; k++)
        if (ranks[k] % pipeline == ranks[i] % pipeline) return k;
    return i;
}

static void fit_node(const fitting *f, sp_memory *memories, sp_node_memory *node,
                     const size_t *ranks) {
    const size_t pipeline = f->grid->pipeline;
    clear_blocks(f);
    for (size_t i = 0; i < node->n_ranks; i++) mark_blocks(f, ranks[i] % pipeline);
    node->mapped = sp_plan_weights_of(f->plan, f->has_block).mapped;
    for (size_t i = 0; i < node->n_ranks; i++) {
        const size_t twin = twin_of(ranks, i, pipeline);
        if (twin < i) {
            memories[i] = memories[twin];
            continue;
        }
        const sp_rank_share share = share_of_rank(f, ranks[i] % pipeline);
        choose_recompute(f, &share, node);
        memories[i] = sp_memory_of(&share);
    }
}

sp_status sp_plan_fit_node(sp_memory *memories, sp_node_memory *node, sp_plan_chain *plan,
                           const sp_plan_grid *grid, const sp_batch *largest, const size_t *ranks) {
    sp_chain *chain = &plan->outline.compressor->chain;
    void *has_block = NULL;
    SP_TRY(sp_alloc_array(&has_block, chain->n_blocks, sizeof(bool), "a plan"));
    const fitting f = {plan, chain, grid, largest, has_block};
    fit_node(&f, memories, node, ranks);
    free(has_block);
    return SP_OK;
}

/* ---- a run ---- */

static sp_status check(sp_memory *memory, bool *recomputes, const sp_plan_run *run,
                       const sp_plan_grid *grid, sp_plan_chain *plan, sp_batch *largest,
                       sp_memory *memories) {
    const sp_chain *chain = sp_plan_blocks(plan);
    sp_node_memory node = {
        .n_ranks = run->n_ranks, .n_bytes = run->node_bytes, .source = run->source};
    SP_TRY(sp_plan_largest_batch(largest, plan, grid->micro_batch));
    SP_TRY(sp_plan_fit_node(memories, &node, plan, grid, largest, run->ranks));
    SP_TRY(sp_memory_check(&node, memories, run->ranks, "`slotpress plan` shows what would fit"));
    for (size_t i = 0; i < run->n_ranks; i++)
        if (run->ranks[i] == run->rank) *memory = memories[i];
    memset(recomputes, 0, chain->n_blocks * sizeof *recomputes);
    for (size_t s = run->rank % grid->pipeline; s < grid->n_stages; s += grid->pipeline)
        for (size_t b = grid->stages[s].begin; b < grid->stages[s].end; b++)
            recomputes[b] = chain->recomputes[b];
    return SP_OK;
}

sp_status sp_plan_check(sp_memory *memory, bool *recomputes, size_t *pass_samples,
                        const sp_plan_run *run) {
    sp_plan_chain plan = {0};
    sp_plan_grid grid = run->grid;
    sp_batch largest = {0};
    void *memories = NULL;
    sp_status status = sp_plan_chain_open(&plan, run->config, run->samples);
    if (status == SP_OK) status = sp_plan_settle_passes(&grid, &plan);
    if (status == SP_OK) status = sp_alloc_array(&memories, run->n_ranks, sizeof *memory, "a plan");
    if (status == SP_OK) status = check(memory, recomputes, run, &grid, &plan, &largest, memories);
    if (status == SP_OK) *pass_samples = grid.micro_batch;
    free(memories);
    sp_batch_free(&largest);
    sp_plan_chain_close(&plan);
    return status;
}
