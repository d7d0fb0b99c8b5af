#include "chain/pass.h"

#include "base/size.h"

#include <assert.h>
#include <math.h>

static size_t matrix_bytes(size_t n_rows, size_t width) {
    return sp_arena_bytes(n_rows * width * sizeof(float));
}

static size_t output_bytes(const sp_block *block, const sp_batch *batch) {
    return matrix_bytes(block->kind->n_out_rows(block, batch), block->n_out);
}

static size_t input_bytes(const sp_block *block, const sp_batch *batch) {
    return matrix_bytes(block->kind->n_in_rows(block, batch), block->n_in);
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* ---- its samples ---- */

/* Rows that fill the products; even parts have half of them at least. SmolLM2-135M's step in f32 (Zen 1,
   AVX2) comes to 16.0 tokens per CPU second with 470 rows a pass, 16.5 with 940, 16.6 with 1,900 and
   16.4 with 3,800; what is above 1,000 is for many threads. */
static const double FILLING_ROWS = 2048;

size_t sp_pass_samples(size_t micro_batch, double sample_rows) {
    const double filling = sample_rows > 0 ? ceil(FILLING_ROWS / sample_rows) : INFINITY;
    if (micro_batch == 0) return 1;
    if (filling >= (double)micro_batch) return micro_batch;
    const size_t n_passes = sp_divide_up(micro_batch, (size_t)filling);
    return sp_divide_up(micro_batch, n_passes);
}

/* ---- the workspace ---- */

static size_t turn_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch) {
    size_t widest = 0;
    for (size_t i = begin; i < end; i++) {
        widest = most(widest, output_bytes(chain->blocks[i], batch));
        widest = most(widest, input_bytes(chain->blocks[i], batch));
    }
    return widest;
}

/* What is kept only while a block runs: all of it in inference, a recomputed block's in training,
   together with the output that is made again. */
static size_t passing_bytes(const sp_chain *chain, size_t i, const sp_batch *batch,
                            const sp_cost *cost, bool is_training) {
    if (!is_training) return sp_arena_bytes(cost->bytes_kept);
    if (!chain->recomputes[i]) return 0;
    return sp_arena_bytes(cost->bytes_kept) + output_bytes(chain->blocks[i], batch);
}

size_t sp_workspace_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch,
                          bool is_training) {
    size_t room = 0;
    for (size_t i = begin; i < end; i++) {
        const sp_cost cost = chain->blocks[i]->kind->cost(chain->blocks[i], batch);
        room = most(room, passing_bytes(chain, i, batch, &cost, is_training) +
                              sp_arena_bytes(cost.bytes_scratch));
    }
    return 2 * turn_bytes(chain, begin, end, batch) + room;
}

sp_status sp_workspace_reserve(sp_workspace *workspace, const sp_chain *chain, size_t begin,
                               size_t end, const sp_batch *batch, bool is_training) {
    sp_arena *arena = &workspace->arena;
    arena->used = 0;
    SP_TRY(sp_arena_reserve(arena, sp_workspace_bytes(chain, begin, end, batch, is_training),
                            "scratch"));
    const size_t n_bytes = turn_bytes(chain, begin, end, batch);
    for (int i = 0; i < 2; i++) workspace->turns[i] = sp_arena_push(arena, n_bytes);
    return SP_OK;
}

void sp_workspace_release(sp_workspace *workspace) {
    sp_arena_release(&workspace->arena);
    *workspace = (sp_workspace){0};
}

float *sp_chain_run(const sp_chain *chain, size_t begin, size_t end, sp_batch *batch,
                    const float *x, sp_workspace *workspace) {
    sp_arena *arena = &workspace->arena;
    float *y = NULL;
    for (size_t i = begin; i < end; i++) {
        const sp_block *block = chain->blocks[i];
        const size_t used = arena->used;
        y = workspace->turns[i % 2];
        char *kept = sp_arena_push(arena, block->kind->cost(block, batch).bytes_kept);
        block->kind->forward(block, batch, y, x, kept, arena);
        arena->used = used;
        x = y;
    }
    return y;
}

/* ---- the pass ---- */

size_t sp_pass_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch) {
    size_t n_bytes = begin < end ? input_bytes(chain->blocks[begin], batch) : 0;
    for (size_t i = begin; i < end; i++) {
        const sp_block *block = chain->blocks[i];
        n_bytes += output_bytes(block, batch);
        if (!chain->recomputes[i])
            n_bytes += sp_arena_bytes(block->kind->cost(block, batch).bytes_kept);
    }
    return n_bytes;
}

sp_status sp_pass_reserve(sp_pass *pass, const sp_chain *chain, size_t begin, size_t end,
                          const sp_batch *batch) {
    pass->arena.used = 0;
    return sp_arena_reserve(&pass->arena, sp_pass_bytes(chain, begin, end, batch), "activations");
}

float *sp_pass_input(sp_pass *pass, const sp_chain *chain, size_t begin, const sp_batch *batch) {
    return sp_arena_push(&pass->arena, input_bytes(chain->blocks[begin], batch));
}

float *sp_pass_forward(sp_pass *pass, const sp_chain *chain, size_t begin, size_t end,
                       sp_batch *batch, const float *x, sp_workspace *workspace) {
    float *y = NULL;
    for (size_t i = begin; i < end; i++) {
        const sp_block *block = chain->blocks[i];
        const size_t used = workspace->arena.used;
        const size_t n_kept = block->kind->cost(block, batch).bytes_kept;
        y = sp_arena_push(&pass->arena, output_bytes(block, batch));
        pass->inputs[i] = x;
        pass->kept[i] =
            sp_arena_push(chain->recomputes[i] ? &workspace->arena : &pass->arena, n_kept);
        block->kind->forward(block, batch, y, x, pass->kept[i], &workspace->arena);
        workspace->arena.used = used;
        x = y;
    }
    pass->inputs[end] = x;
    return y;
}

/* Makes a block's kept bytes once more, on top of the workspace; its output is not needed again. */
static char *recompute(const sp_pass *pass, const sp_block *block, size_t i, sp_batch *batch,
                       sp_arena *arena) {
    assert(block->kind->can_recompute);
    char *kept = sp_arena_push(arena, block->kind->cost(block, batch).bytes_kept);
    const size_t used = arena->used;
    float *y = sp_arena_push(arena, output_bytes(block, batch));
    block->kind->forward(block, batch, y, pass->inputs[i], kept, arena);
    arena->used = used;
    return kept;
}

float *sp_pass_backward(const sp_pass *pass, const sp_chain *chain, size_t begin, size_t end,
                        sp_batch *batch, float *dy, sp_workspace *workspace) {
    sp_arena *arena = &workspace->arena;
    for (size_t i = end; i-- > begin;) {
        const sp_block *block = chain->blocks[i];
        const size_t used = arena->used;
        float *dx = block->n_in > 0 ? workspace->turns[i % 2] : NULL;
        char *kept = chain->recomputes[i] ? recompute(pass, block, i, batch, arena) : pass->kept[i];
        block->kind->backward(block, batch, dx, dy, pass->inputs[i], kept, arena);
        arena->used = used;
        dy = dx;
    }
    return dy;
}

void sp_pass_release(sp_pass *pass) {
    sp_arena_release(&pass->arena);
    *pass = (sp_pass){0};
}
