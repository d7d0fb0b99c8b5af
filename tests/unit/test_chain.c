/* A chain of blocks that do next to nothing, but spoil all memory that is theirs: what one hands on
   must survive the others, and the arena must be as large as they said. */
#include "tests/check.h"
#include "tests/values.h"

#include "chain/pass.h"

#include <stdlib.h>

enum { MOST_VISITS = 256 };

/* Rows of n_out from rows of n_in: y[r][i] = factor * x[r][i % n_in] + i. */
typedef struct toy {
    sp_block block; /* first, so that a block is its toy */
    size_t n_rows;
    float factor;
    sp_cost cost;
    float grad; /* d factor */
} toy;

static size_t most_used, n_destroyed;
static const sp_block *visited[MOST_VISITS];
static size_t n_visited;

static size_t n_rows_of(const sp_block *block, const sp_batch *batch) {
    return ((const toy *)block)->n_rows;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    return ((const toy *)block)->cost;
}

static void spoil(sp_arena *scratch, size_t n_bytes) {
    memset(sp_arena_push(scratch, n_bytes), 0xFF, n_bytes); /* NaN, as floats */
    if (scratch->used > most_used) most_used = scratch->used;
}

/* What bytes_kept must still say when the backward pass comes. */
static unsigned char mark_of(const toy *t) { return (unsigned char)(t->factor * 16); }

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    const toy *t = (const toy *)block;
    spoil(scratch, t->cost.bytes_scratch);
    memset(kept, mark_of(t), t->cost.bytes_kept);
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t i = 0; i < block->n_out; i++)
            y[r * block->n_out + i] =
                t->factor * (block->n_in > 0 ? x[r * block->n_in + i % block->n_in] : 1) + (float)i;
    visited[n_visited++ % MOST_VISITS] = block;
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    toy *t = (toy *)(uintptr_t)block; /* a toy keeps its gradient in itself */
    spoil(scratch, t->cost.bytes_scratch);
    for (size_t i = 0; i < t->cost.bytes_kept; i++)
        assert_int_equal((unsigned char)kept[i], mark_of(t));
    if (dx != NULL) memset(dx, 0, t->n_rows * block->n_in * sizeof *dx);
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t i = 0; i < block->n_out; i++) {
            const float d = dy != NULL ? dy[r * block->n_out + i] : 1; /* the loss: a sum */
            const size_t from = block->n_in > 0 ? r * block->n_in + i % block->n_in : 0;
            t->grad += d * (block->n_in > 0 ? x[from] : 1);
            if (dx != NULL) dx[from] += d * t->factor;
        }
    visited[n_visited++ % MOST_VISITS] = block;
}

static void destroy(sp_block *block) {
    n_destroyed++;
    free(block);
}

static const sp_block_kind kind = {.name = "toy",
                                   .n_in_rows = n_rows_of,
                                   .n_out_rows = n_rows_of,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy,
                                   .can_recompute = true};

enum { N_ROWS = 3, N_BLOCKS = 6 };

/* Widths grow and shrink; sizes are around the arena's alignment, 0 included. */
static const struct {
    size_t n_in, n_out, bytes_kept, bytes_scratch;
} shapes[N_BLOCKS] = {{0, 4, 1, 100}, {4, 40, 64, 0},   {40, 7, 65, 1000},
                      {7, 7, 0, 64},  {7, 90, 1000, 1}, {90, 5, 63, 999}};

static sp_chain chain;
static sp_batch batch;
static sp_pass pass;
static sp_workspace workspace;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static int create_chain(void **state) {
    chain = (sp_chain){0};
    most_used = n_destroyed = n_visited = 0;
    for (size_t i = 0; i < N_BLOCKS; i++) {
        toy *t = calloc(1, sizeof *t);
        assert_non_null(t);
        *t = (toy){.block = {&kind, shapes[i].n_in, shapes[i].n_out},
                   .n_rows = N_ROWS,
                   .factor = 0.5F + 0.25F * (float)i,
                   .cost = {.flop_forward = (double)(i + 1),
                            .flop_backward = (double)(10 * i),
                            .bytes_kept = shapes[i].bytes_kept,
                            .bytes_scratch = shapes[i].bytes_scratch}};
        must(sp_chain_append(&chain, &t->block));
    }
    return 0;
}

static int destroy_chain(void **state) {
    sp_chain_destroy(&chain);
    sp_pass_release(&pass);
    sp_workspace_release(&workspace);
    return 0;
}

/* As large as they say, and spoiled; returns the workspace's bytes. */
static size_t reserve(bool is_training) {
    sp_pass_release(&pass);
    sp_workspace_release(&workspace);
    must(sp_workspace_reserve(&workspace, &chain, 0, N_BLOCKS, &batch, is_training));
    memset(workspace.arena.base, 0xFF, workspace.arena.capacity);
    most_used = 0;
    if (!is_training) return workspace.arena.capacity;
    must(sp_pass_reserve(&pass, &chain, 0, N_BLOCKS, &batch));
    memset(pass.arena.base, 0xFF, pass.arena.capacity);
    return workspace.arena.capacity;
}

static float *run(void) { return sp_chain_run(&chain, 0, N_BLOCKS, &batch, NULL, &workspace); }

static float *forward_all(void) {
    return sp_pass_forward(&pass, &chain, 0, N_BLOCKS, &batch, NULL, &workspace);
}

static void backward_all(void) {
    assert_null(sp_pass_backward(&pass, &chain, 0, N_BLOCKS, &batch, NULL, &workspace));
}

/* The chain's definition over one column of a row, in f64. */
static double expected_output(size_t i) {
    double y = 0;
    size_t columns[N_BLOCKS];
    columns[N_BLOCKS - 1] = i;
    for (size_t b = N_BLOCKS - 1; b > 0; b--) columns[b - 1] = columns[b] % shapes[b].n_in;
    for (size_t b = 0; b < N_BLOCKS; b++)
        y = (0.5 + 0.25 * (double)b) * (b > 0 ? y : 1) + (double)columns[b];
    return y;
}

static void blocks_run_one_after_the_other(void **state) {
    reserve(false);
    const float *y = run();
    for (size_t r = 0; r < N_ROWS; r++)
        for (size_t i = 0; i < 5; i++) assert_close(y[r * 5 + i], expected_output(i), 1e-6);
    assert_int_equal(n_visited, N_BLOCKS);
    for (size_t i = 0; i < N_BLOCKS; i++) assert_ptr_equal(visited[i], chain.blocks[i]);
}

static void keeping_changes_no_output(void **state) {
    float without[N_ROWS * 5];
    reserve(false);
    memcpy(without, run(), sizeof without);
    reserve(true);
    assert_memory_equal(forward_all(), without, sizeof without);
}

/* A cut anywhere: the parts, each with a workspace of its own, hand on what the whole computes, rows
   forward and gradients back. */
static void ranges_of_blocks_make_the_whole(void **state) {
    float whole[N_ROWS * 5], grads[N_BLOCKS];
    reserve(true);
    memcpy(whole, forward_all(), sizeof whole);
    backward_all();
    for (size_t b = 0; b < N_BLOCKS; b++) grads[b] = ((toy *)chain.blocks[b])->grad;
    for (size_t cut = 1; cut < N_BLOCKS; cut++) {
        sp_workspace first = {0}, second = {0};
        sp_pass passes[2];
        memset(passes, 0, sizeof passes);
        for (size_t b = 0; b < N_BLOCKS; b++) ((toy *)chain.blocks[b])->grad = 0;
        must(sp_workspace_reserve(&first, &chain, 0, cut, &batch, false));
        must(sp_workspace_reserve(&second, &chain, cut, N_BLOCKS, &batch, false));
        const float *y = sp_chain_run(&chain, 0, cut, &batch, NULL, &first);
        assert_memory_equal(sp_chain_run(&chain, cut, N_BLOCKS, &batch, y, &second), whole,
                            sizeof whole);
        must(sp_workspace_reserve(&first, &chain, 0, cut, &batch, true));
        must(sp_workspace_reserve(&second, &chain, cut, N_BLOCKS, &batch, true));
        must(sp_pass_reserve(&passes[0], &chain, 0, cut, &batch));
        must(sp_pass_reserve(&passes[1], &chain, cut, N_BLOCKS, &batch));
        y = sp_pass_forward(&passes[0], &chain, 0, cut, &batch, NULL, &first);
        const size_t n_cut = N_ROWS * shapes[cut].n_in;
        float *x = sp_pass_input(&passes[1], &chain, cut, &batch);
        memcpy(x, y, n_cut * sizeof *x);
        assert_memory_equal(sp_pass_forward(&passes[1], &chain, cut, N_BLOCKS, &batch, x, &second),
                            whole, sizeof whole);
        float *dx = sp_pass_backward(&passes[1], &chain, cut, N_BLOCKS, &batch, NULL, &second);
        assert_null(sp_pass_backward(&passes[0], &chain, 0, cut, &batch, dx, &first));
        for (size_t b = 0; b < N_BLOCKS; b++)
            assert_true(((toy *)chain.blocks[b])->grad == grads[b]);
        for (int i = 0; i < 2; i++) sp_pass_release(&passes[i]);
        sp_workspace_release(&second);
        sp_workspace_release(&first);
    }
}

/* Block by block, as a step runs that reduces gradients meanwhile. */
static void single_blocks_make_the_whole(void **state) {
    float whole[N_ROWS * 5], grads[N_BLOCKS];
    reserve(true);
    memcpy(whole, forward_all(), sizeof whole);
    backward_all();
    for (size_t b = 0; b < N_BLOCKS; b++) grads[b] = ((toy *)chain.blocks[b])->grad;
    reserve(true);
    float *x = NULL, *dy = NULL;
    for (size_t b = 0; b < N_BLOCKS; b++) {
        ((toy *)chain.blocks[b])->grad = 0;
        x = sp_pass_forward(&pass, &chain, b, b + 1, &batch, x, &workspace);
    }
    assert_memory_equal(x, whole, sizeof whole);
    for (size_t b = N_BLOCKS; b-- > 0;)
        dy = sp_pass_backward(&pass, &chain, b, b + 1, &batch, dy, &workspace);
    for (size_t b = 0; b < N_BLOCKS; b++) assert_true(((toy *)chain.blocks[b])->grad == grads[b]);
}

static void backward_passes_meet_what_was_kept(void **state) {
    for (int recomputes = 0; recomputes < 2; recomputes++) {
        for (size_t b = 0; b < N_BLOCKS; b++) chain.recomputes[b] = recomputes && b % 3 != 1;
        reserve(true);
        (void)forward_all();
        n_visited = 0;
        backward_all();
        const sp_block *backward_order[N_BLOCKS];
        size_t n = 0;
        for (size_t i = 0; i < n_visited; i++) /* a recomputed block is visited twice */
            if (n == 0 || visited[i] != backward_order[n - 1]) backward_order[n++] = visited[i];
        assert_int_equal(n, N_BLOCKS);
        for (size_t i = 0; i < N_BLOCKS; i++)
            assert_ptr_equal(backward_order[i], chain.blocks[N_BLOCKS - 1 - i]);
        for (size_t b = 0; b < N_BLOCKS; b++) { /* every factor by central differences */
            toy *t = (toy *)chain.blocks[b];
            const float step = 0x1p-4F, factor = t->factor, grad = t->grad;
            double sums[2] = {0};
            for (int side = 0; side < 2; side++) {
                t->factor = factor + (side == 0 ? -step : step);
                reserve(false);
                const float *moved = run();
                for (size_t i = 0; i < N_ROWS * 5; i++) sums[side] += (double)moved[i];
            }
            t->factor = factor;
            t->grad = 0;
            /* linear in each factor: only rounding is left, over the step */
            assert_close((double)grad / ((sums[1] - sums[0]) / (double)(2 * step)), 1, 1e-5);
        }
    }
}

/* push() asserts that no run takes more; here, that none asks for what it cannot use. */
static void the_workspace_is_as_large_as_a_run_needs(void **state) {
    size_t n_bytes = reserve(true);
    (void)forward_all();
    backward_all();
    assert_int_equal(most_used, n_bytes);
    assert_int_equal(pass.arena.used, pass.arena.capacity);

    for (size_t i = 0; i < N_BLOCKS; i++) { /* alike, so that the most of each falls on one block */
        toy *t = (toy *)chain.blocks[i];
        t->cost.bytes_kept = 130;
        t->cost.bytes_scratch = 70;
    }
    n_bytes = reserve(false);
    (void)run();
    assert_int_equal(most_used, n_bytes);
}

static void recomputing_trades_what_is_kept_for_scratch(void **state) {
    const size_t kept = sp_pass_bytes(&chain, 0, N_BLOCKS, &batch);
    const size_t scratch = sp_workspace_bytes(&chain, 0, N_BLOCKS, &batch, true);
    for (size_t b = 0; b < N_BLOCKS; b++) chain.recomputes[b] = true;
    size_t dropped = 0;
    for (size_t b = 0; b < N_BLOCKS; b++) dropped += sp_arena_bytes(shapes[b].bytes_kept);
    assert_int_equal(sp_pass_bytes(&chain, 0, N_BLOCKS, &batch), kept - dropped);
    assert_true(sp_workspace_bytes(&chain, 0, N_BLOCKS, &batch, true) > scratch);
}

static void inference_needs_less_than_training(void **state) {
    assert_true(sp_workspace_bytes(&chain, 0, N_BLOCKS, &batch, false) <
                sp_workspace_bytes(&chain, 0, N_BLOCKS, &batch, true) +
                    sp_pass_bytes(&chain, 0, N_BLOCKS, &batch));
    assert_int_equal(sp_workspace_bytes(&chain, 2, 2, &batch, true), 0);
    assert_int_equal(sp_pass_bytes(&chain, 2, 2, &batch), 0);
}

static void blocks_that_live_elsewhere_leave_their_place(void **state) {
    sp_block *away = chain.blocks[2];
    chain.blocks[2] = NULL;
    assert_true(sp_chain_training_flop(&chain, &batch) == 1 + 2 + 4 + 5 + 6 + 130);
    sp_chain_destroy(&chain);
    assert_int_equal(n_destroyed, N_BLOCKS - 1);
    destroy(away);
}

/* 1,024 rows at least, for which rates are measured, and a largest pass that no even parts would beat. */
static void a_pass_takes_of_a_micro_batch_what_fills_the_products(void **state) {
    static const double rows[] = {1, 7.5, 100, 470, 1023, 2048, 5000};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t micro = 1; micro < 300; micro++) {
            const size_t n = sp_pass_samples(micro, rows[i]);
            const size_t n_passes = (micro + n - 1) / n;
            assert_in_range(n, 1, micro);
            assert_int_equal(n, (micro + n_passes - 1) / n_passes);
            if (n < micro) assert_true((double)n * rows[i] >= 1024);
            if (n > 1) assert_true((double)(n - 1) * rows[i] < 2048);
        }
    assert_int_equal(sp_pass_samples(8, 470), 4);
    assert_int_equal(sp_pass_samples(8, 0), 8); /* nothing is run */
}

static void a_batch_without_rows_passes(void **state) {
    for (size_t i = 0; i < N_BLOCKS; i++) ((toy *)chain.blocks[i])->n_rows = 0;
    reserve(true);
    (void)forward_all();
    backward_all();
    assert_int_equal(n_visited, 2 * N_BLOCKS);
}

static void flop_are_those_of_all_blocks(void **state) {
    assert_true(sp_chain_training_flop(&chain, &batch) == 1 + 2 + 3 + 4 + 5 + 6 + 150);
}

static void a_block_too_many_is_refused_and_destroyed(void **state) {
    sp_status status = SP_OK;
    size_t n = N_BLOCKS;
    for (; n <= SP_MAX_BLOCKS; n++) {
        toy *t = calloc(1, sizeof *t);
        assert_non_null(t);
        t->block.kind = &kind;
        status = sp_chain_append(&chain, &t->block);
        if (status != SP_OK) break;
    }
    assert_int_equal(status, SP_FAILURE);
    assert_int_equal(n, SP_MAX_BLOCKS);
    assert_int_equal(n_destroyed, 1);
    sp_chain_destroy(&chain);
    assert_int_equal(n_destroyed, SP_MAX_BLOCKS + 1);
    assert_int_equal(chain.n_blocks, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create_chain, destroy_chain)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(blocks_run_one_after_the_other),
        TEST(keeping_changes_no_output),
        TEST(ranges_of_blocks_make_the_whole),
        TEST(single_blocks_make_the_whole),
        TEST(backward_passes_meet_what_was_kept),
        TEST(recomputing_trades_what_is_kept_for_scratch),
        TEST(blocks_that_live_elsewhere_leave_their_place),
        TEST(the_workspace_is_as_large_as_a_run_needs),
        TEST(inference_needs_less_than_training),
        TEST(a_pass_takes_of_a_micro_batch_what_fills_the_products),
        TEST(a_batch_without_rows_passes),
        TEST(flop_are_those_of_all_blocks),
        TEST(a_block_too_many_is_refused_and_destroyed),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
