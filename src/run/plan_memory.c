#include "run/plan_memory.h"

#include "mpi/reducer.h"

#include <stdbool.h>
#include <stdio.h>

const char *const sp_memory_item_names[SP_N_MEMORY_ITEMS] = {
    [SP_MEMORY_MAPPED] = "frozen weights, mapped",   [SP_MEMORY_COPIED] = "frozen weights, copied",
    [SP_MEMORY_VALUES] = "trained values",           [SP_MEMORY_GRADIENTS] = "gradients",
    [SP_MEMORY_MOMENTS] = "optimiser moments",       [SP_MEMORY_SNAPSHOT] = "checkpoint snapshot",
    [SP_MEMORY_KEPT] = "activations kept",           [SP_MEMORY_SCRATCH] = "scratch",
    [SP_MEMORY_STAGING] = "communication staging",   [SP_MEMORY_TOKENS] = "index of the tokens",
    [SP_MEMORY_LIBRARIES] = "program and libraries",
};

const char *const sp_memory_item_keys[SP_N_MEMORY_ITEMS] = {
    [SP_MEMORY_MAPPED] = "weights_mapped", [SP_MEMORY_COPIED] = "weights_copied",
    [SP_MEMORY_VALUES] = "trained_values", [SP_MEMORY_GRADIENTS] = "gradients",
    [SP_MEMORY_MOMENTS] = "moments",       [SP_MEMORY_SNAPSHOT] = "checkpoint_snapshot",
    [SP_MEMORY_KEPT] = "activations",      [SP_MEMORY_SCRATCH] = "scratch",
    [SP_MEMORY_STAGING] = "staging",       [SP_MEMORY_TOKENS] = "tokens",
    [SP_MEMORY_LIBRARIES] = "libraries",
};

const char *const sp_memory_item_remedies[SP_N_MEMORY_ITEMS] = {
    [SP_MEMORY_MAPPED] = "raise parallel.pipeline",
    [SP_MEMORY_COPIED] = "raise parallel.pipeline, or set decoder.precision and train.precision to "
                         "the type of the model files",
    [SP_MEMORY_VALUES] = "raise parallel.pipeline, or train less: encoder.train lora, a smaller "
                         "encoder.lora.rank",
    [SP_MEMORY_GRADIENTS] = "raise parallel.pipeline, or train less: encoder.train lora",
    [SP_MEMORY_MOMENTS] = "take more nodes, over which they are shared out, or train less",
    [SP_MEMORY_SNAPSHOT] = "take more nodes, over which it is shared out, or train less",
    [SP_MEMORY_KEPT] = "lower train.micro_batch, or raise parallel.pipeline",
    [SP_MEMORY_SCRATCH] = "lower train.micro_batch",
    [SP_MEMORY_STAGING] = "lower train.micro_batch, or train less",
    [SP_MEMORY_TOKENS] = "start fewer ranks on a node",
    [SP_MEMORY_LIBRARIES] = "start fewer ranks on a node",
};

/* Resident bytes of a rank that has opened everything and holds next to nothing: measured at 38 to 40
   MB with Open MPI 4.1, HDF5 1.10, OpenBLAS 0.3.21 and oneDNN 2.6, one rank or four, a thread or
   two. */
static const uint64_t LIBRARY_BYTES = 40 << 20;

static uint64_t input_bytes(const sp_chain *chain, const sp_stage *stage, const sp_batch *batch) {
    const sp_block *first = chain->blocks[stage->begin];
    return first->kind->n_in_rows(first, batch) * first->n_in * sizeof(float);
}

/* Messages between stages: the sender keeps a copy until it has gone, of rows one way and of their
   gradients the other. */
static uint64_t staging_bytes(const sp_rank_share *share) {
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < share->n_stages && share->is_in_pipeline; i++)
        n_bytes += 2 * input_bytes(share->chain, &share->stages[i], share->batch) *
                   share->wire_bytes / sizeof(float);
    return n_bytes;
}

/* The parameters' own, unless they are reduced at once, and what the reduction adds. */
static uint64_t gradient_bytes(const sp_rank_share *share, uint64_t n_shard) {
    size_t begin = 0;
    const sp_params largest = {
        .n_values = share->largest_group, .group_begin = &begin, .n_groups = 1};
    const bool are_pooled = share->zero == 2 && share->data > 1;
    return (are_pooled ? 0 : share->n_trained * sizeof(float)) +
           sp_reducer_bytes(&largest, n_shard, share->data, share->zero);
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Where what a stage keeps for backward begins. */
static size_t kept_begin(const sp_rank_share *share, const sp_stage *stage) {
    if (share->first_trained >= stage->end) return stage->end;
    return share->first_trained > stage->begin ? share->first_trained : stage->begin;
}

sp_memory sp_memory_of(const sp_rank_share *share) {
    const uint64_t n_shard = (share->n_trained + share->data - 1) / share->data;
    sp_memory memory = {.items = {[SP_MEMORY_MAPPED] = share->weights_mapped,
                                  [SP_MEMORY_COPIED] = share->weights_copied,
                                  [SP_MEMORY_VALUES] = share->n_trained * sizeof(float),
                                  [SP_MEMORY_GRADIENTS] = gradient_bytes(share, n_shard),
                                  [SP_MEMORY_MOMENTS] = 2 * n_shard * sizeof(float),
                                  [SP_MEMORY_SNAPSHOT] = 3 * n_shard * sizeof(float),
                                  [SP_MEMORY_STAGING] = staging_bytes(share),
                                  [SP_MEMORY_TOKENS] = share->token_bytes,
                                  [SP_MEMORY_LIBRARIES] = LIBRARY_BYTES},
                        .file_pages = share->weights_file};
    for (size_t i = 0; i < share->n_stages; i++) {
        const sp_stage *stage = &share->stages[i];
        const size_t kept = kept_begin(share, stage);
        const uint64_t n_scratch =
            larger(sp_workspace_bytes(share->chain, stage->begin, kept, share->batch, false),
                   sp_workspace_bytes(share->chain, kept, stage->end, share->batch, true));
        memory.items[SP_MEMORY_KEPT] +=
            share->in_flight[i] * sp_pass_bytes(share->chain, kept, stage->end, share->batch);
        if (n_scratch > memory.items[SP_MEMORY_SCRATCH])
            memory.items[SP_MEMORY_SCRATCH] = n_scratch;
    }
    return memory;
}

uint64_t sp_memory_total(const sp_memory *memory) {
    uint64_t sum = 0;
    for (size_t i = 0; i < SP_N_MEMORY_ITEMS; i++) sum += memory->items[i];
    return sum;
}

uint64_t sp_memory_private(const sp_memory *memory) {
    return sp_memory_total(memory) - memory->items[SP_MEMORY_MAPPED];
}

uint64_t sp_memory_peak(const sp_memory *memory) {
    const uint64_t *items = memory->items;
    const uint64_t loading = items[SP_MEMORY_COPIED] + items[SP_MEMORY_VALUES] +
                             items[SP_MEMORY_TOKENS] + items[SP_MEMORY_LIBRARIES] +
                             memory->file_pages;
    return larger(sp_memory_total(memory), loading);
}

sp_memory_item sp_memory_largest(const sp_memory *memory) {
    sp_memory_item largest = 0;
    for (sp_memory_item i = 0; i < SP_N_MEMORY_ITEMS; i++)
        if (memory->items[i] > memory->items[largest]) largest = i;
    return largest;
}

/* The block of the share that is not recomputed yet, can be, and keeps most; n_blocks if none. */
static size_t dearest_block(const sp_chain *chain, const sp_rank_share *share) {
    size_t dearest = chain->n_blocks, most = 0;
    for (size_t i = 0; i < share->n_stages; i++)
        for (size_t b = share->stages[i].begin; b < share->stages[i].end; b++) {
            const sp_block *block = chain->blocks[b];
            if (b < share->first_trained) continue;
            if (chain->recomputes[b] || !block->kind->can_recompute) continue;
            const size_t n_kept =
                share->in_flight[i] * block->kind->cost(block, share->batch).bytes_kept;
            if (n_kept > most) {
                most = n_kept;
                dearest = b;
            }
        }
    return dearest;
}

size_t sp_memory_choose_recompute(sp_chain *chain, const sp_rank_share *share, uint64_t n_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < share->n_stages; i++)
        for (size_t b = share->stages[i].begin; b < share->stages[i].end; b++)
            chain->recomputes[b] = false;
    for (;;) {
        const sp_memory memory = sp_memory_of(share);
        if (sp_memory_total(&memory) <= n_bytes) return n;
        const size_t block = dearest_block(chain, share);
        if (block == chain->n_blocks) return n;
        chain->recomputes[block] = true;
        n++;
    }
}

uint64_t sp_memory_budget(const sp_node_memory *node, const sp_memory *memory) {
    const uint64_t left = node->n_bytes > node->mapped ? node->n_bytes - node->mapped : 0;
    return left / node->n_ranks + memory->items[SP_MEMORY_MAPPED];
}

uint64_t sp_memory_of_node(const sp_node_memory *node, const sp_memory *ranks) {
    uint64_t sum = node->mapped;
    for (size_t i = 0; i < node->n_ranks; i++) sum += sp_memory_private(&ranks[i]);
    return sum;
}

const char *sp_memory_text(char *text, size_t size, uint64_t n_bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)n_bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++) value /= 1024;
    snprintf(text, size, value < 10 && unit > 0 ? "%.2f %s" : "%.1f %s", value, units[unit]);
    return text;
}

sp_status sp_memory_check(const sp_node_memory *node, const sp_memory *memories,
                          const size_t *ranks, const char *hint) {
    const uint64_t sum = sp_memory_of_node(node, memories);
    if (sum <= node->n_bytes) return SP_OK;
    size_t most = 0;
    for (size_t i = 1; i < node->n_ranks; i++)
        if (sp_memory_total(&memories[i]) > sp_memory_total(&memories[most])) most = i;
    return sp_memory_refuse(node, sum, ranks[most], &memories[most], hint);
}

sp_status sp_memory_refuse(const sp_node_memory *node, uint64_t n_bytes, size_t rank,
                           const sp_memory *memory, const char *hint) {
    enum { SIZE = 32 };
    char needed[SIZE], had[SIZE], of_rank[SIZE], of_item[SIZE];
    const sp_memory_item item = sp_memory_largest(memory);
    return sp_fail(
        SP_USAGE,
        "the node's %zu rank(s) need %s, and have %s (%s); rank %zu needs %s, of these %s "
        "for %s: %s; %s",
        node->n_ranks, sp_memory_text(needed, SIZE, n_bytes),
        sp_memory_text(had, SIZE, node->n_bytes), node->source, rank,
        sp_memory_text(of_rank, SIZE, sp_memory_total(memory)),
        sp_memory_text(of_item, SIZE, memory->items[item]), sp_memory_item_names[item],
        sp_memory_item_remedies[item], hint);
}
