#include "chain/chain.h"

sp_status sp_chain_append(sp_chain *chain, sp_block *block) {
    if (chain->n_blocks == SP_MAX_BLOCKS) {
        block->kind->destroy(block);
        return sp_fail(SP_FAILURE, "a chain of more than %d blocks", (int)SP_MAX_BLOCKS);
    }
    chain->blocks[chain->n_blocks++] = block;
    return SP_OK;
}

static size_t output_bytes(const sp_block *block, const sp_batch *batch) {
    return sp_arena_bytes(block->kind->n_out_rows(block, batch) * block->n_out * sizeof(float));
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* The layout that forward and backward below follow: all that is kept, then two buffers that
   neighbouring blocks hand gradients (or, without keeping, outputs) on through, then scratch. */
size_t sp_chain_arena_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch,
                            bool keep) {
    size_t kept = 0, scratch = 0, widest = 0, kept_once = 0;
    for (size_t i = begin; i < end; i++) {
        const sp_block *block = chain->blocks[i];
        const sp_cost cost = block->kind->cost(block, batch);
        const size_t output = output_bytes(block, batch);
        kept += output + sp_arena_bytes(cost.bytes_kept);
        kept_once = most(kept_once, sp_arena_bytes(cost.bytes_kept));
        scratch = most(scratch, sp_arena_bytes(cost.bytes_scratch));
        widest = most(widest, output);
    }
    return (keep ? kept : kept_once) + 2 * widest + scratch;
}

float *sp_chain_forward(sp_chain *chain, size_t begin, size_t end, sp_batch *batch, const float *x,
                        bool keep, sp_arena *arena) {
    size_t widest = 0;
    for (size_t i = begin; i < end; i++)
        widest = most(widest, output_bytes(chain->blocks[i], batch));
    float *turns[2] = {NULL, NULL};
    if (!keep) {
        turns[0] = sp_arena_push(arena, widest);
        turns[1] = sp_arena_push(arena, widest);
    }
    float *y = NULL;
    for (size_t i = begin; i < end; i++) {
        const sp_block *block = chain->blocks[i];
        const sp_cost cost = block->kind->cost(block, batch);
        y = keep ? sp_arena_push(arena, output_bytes(block, batch)) : turns[i % 2];
        const size_t before_kept = arena->used;
        char *kept = sp_arena_push(arena, cost.bytes_kept);
        const size_t before_scratch = arena->used;
        block->kind->forward(block, batch, y, x, kept, arena);
        arena->used = keep ? before_scratch : before_kept;
        chain->outputs[i] = y;
        chain->kept[i] = kept;
        x = y;
    }
    return y;
}

void sp_chain_backward(sp_chain *chain, sp_batch *batch, sp_arena *arena) {
    size_t widest = 0;
    for (size_t i = 0; i < chain->n_blocks; i++)
        widest = most(widest, output_bytes(chain->blocks[i], batch));
    float *turns[2] = {sp_arena_push(arena, widest), sp_arena_push(arena, widest)};
    float *dy = NULL;
    for (size_t i = chain->n_blocks; i-- > 0;) {
        const sp_block *block = chain->blocks[i];
        float *dx = i > 0 ? turns[i % 2] : NULL;
        const size_t before_scratch = arena->used;
        block->kind->backward(block, batch, dx, dy, i > 0 ? chain->outputs[i - 1] : NULL,
                              chain->kept[i], arena);
        arena->used = before_scratch;
        dy = dx;
    }
}

double sp_chain_training_flop(const sp_chain *chain, const sp_batch *batch) {
    double flop = 0;
    for (size_t i = 0; i < chain->n_blocks; i++) {
        const sp_cost cost = chain->blocks[i]->kind->cost(chain->blocks[i], batch);
        flop += cost.flop_forward + cost.flop_backward;
    }
    return flop;
}

void sp_chain_destroy(sp_chain *chain) {
    for (size_t i = 0; i < chain->n_blocks; i++) chain->blocks[i]->kind->destroy(chain->blocks[i]);
    *chain = (sp_chain){0};
}
