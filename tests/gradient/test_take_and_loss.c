#include "tests/check.h"

#include "model/final_blocks.h"
#include "tests/gradient/differences.h"
#include "tests/values.h"

enum { D = 7, VOCABULARY = 11, N_ROWS = 9, MOST_MERGED = 3 };

static const sp_model_config config = {.family = &(const sp_family){.name = "of RMSNorm"},
                                       .d_model = D,
                                       .norm_eps = 1e-5,
                                       .vocab_size = VOCABULARY};

typedef struct fixture {
    sp_params params;
    sp_norm norm;
    float frozen_norm[D], head_weight[VOCABULARY * D];
    sp_linear *head;
    sp_adapted_linear merger; /* of chunks of at most 3 rows */
    sp_batch batch;
    float x[N_ROWS * D];
} fixture;

static void set_up_with(fixture *f, bool is_norm_trained, bool has_merger) {
    *f = (fixture){.batch = {.is_training = true}};
    if (is_norm_trained)
        assert_int_equal(sp_params_declare(&f->params, &f->norm.trained, 0, D, "norm"), SP_OK);
    f->merger = (sp_adapted_linear){.n_in = MOST_MERGED * D, .n_out = D};
    if (has_merger)
        assert_int_equal(
            sp_params_declare(&f->params, &f->merger.weight, D, MOST_MERGED * D, "merger"), SP_OK);
    assert_int_equal(sp_params_allocate(&f->params), SP_OK);
    assert_int_equal(sp_adapted_linear_bind(&f->merger), SP_OK);
    fill_params(&f->params, 6);
    fill_values(f->frozen_norm, D, 5);
    if (!is_norm_trained) f->norm.frozen = f->frozen_norm;
    fill_values(f->head_weight, VOCABULARY * D, 4);
    fill_values(f->x, N_ROWS * D, 3);
    assert_int_equal(sp_linear_wrap(&f->head, f->head_weight, NULL, VOCABULARY, D), SP_OK);
}

static void set_up(fixture *f, bool is_norm_trained) { set_up_with(f, is_norm_trained, false); }

static void tear_down(fixture *f) {
    sp_batch_free(&f->batch);
    sp_linear_destroy(f->head);
    sp_adapted_linear_release(&f->merger);
    sp_params_free(&f->params);
}

static void add_row(sp_batch *batch, sp_side side) {
    assert_int_equal(sp_batch_add_row(batch, side, 0), SP_OK);
}

static void taken_rows_and_only_they_get_a_gradient(void **state) {
    for (int is_norm_trained = 0; is_norm_trained < 2; is_norm_trained++) {
        fixture f;
        sp_block *block = NULL;
        int32_t seq = 0;
        set_up(&f, is_norm_trained);
        assert_int_equal(sp_batch_add_seq(&f.batch, SP_ENCODER, SP_NO_PARENT, 1, &seq), SP_OK);
        for (size_t r = 0; r < N_ROWS; r++) {
            add_row(&f.batch, SP_ENCODER);
            if (r == 2 || r == 3 || r == 8)
                assert_int_equal(sp_batch_take_last_rows(&f.batch, 1), SP_OK);
        }
        assert_int_equal(sp_take_block_create(&block, &config, &f.norm, SP_ENCODER), SP_OK);
        assert_int_equal(block->kind->n_out_rows(block, &f.batch), 3);
        check_block(block, &f.batch, f.x, N_ROWS, &f.params);
        block->kind->destroy(block);
        tear_down(&f);
    }
}

/* Chunks of 2, 1 and 3 rows of two sequences; the rows between them are in no slot. */
static void take_chunks(sp_batch *batch) {
    int32_t seq = 0;
    for (size_t r = 0; r < N_ROWS; r++) {
        if (r == 0 || r == 4)
            assert_int_equal(sp_batch_add_seq(batch, SP_ENCODER, SP_NO_PARENT, 1, &seq), SP_OK);
        add_row(batch, SP_ENCODER);
        if (r == 1) assert_int_equal(sp_batch_take_last_rows(batch, 2), SP_OK);
        if (r == 2) assert_int_equal(sp_batch_take_last_rows(batch, 1), SP_OK);
        if (r == 7) assert_int_equal(sp_batch_take_last_rows(batch, 3), SP_OK);
    }
}

static void pooled_rows_share_a_slots_gradient(void **state) {
    for (int is_norm_trained = 0; is_norm_trained < 2; is_norm_trained++) {
        fixture f;
        sp_block *block = NULL;
        set_up(&f, is_norm_trained);
        take_chunks(&f.batch);
        assert_int_equal(sp_pool_block_create(&block, &config, &f.norm, SP_ENCODER), SP_OK);
        assert_int_equal(block->kind->n_out_rows(block, &f.batch), 3);
        check_block(block, &f.batch, f.x, N_ROWS, &f.params);
        block->kind->destroy(block);
        tear_down(&f);
    }
}

static void merged_rows_each_get_their_matrix_s_gradient(void **state) {
    for (int is_norm_trained = 0; is_norm_trained < 2; is_norm_trained++) {
        fixture f;
        sp_block *block = NULL;
        set_up_with(&f, is_norm_trained, true);
        take_chunks(&f.batch);
        assert_int_equal(sp_merge_block_create(&block, &config, &f.norm, &f.merger, SP_ENCODER),
                         SP_OK);
        assert_int_equal(block->kind->n_out_rows(block, &f.batch), 3);
        check_block(block, &f.batch, f.x, N_ROWS, &f.params);
        block->kind->destroy(block);
        tear_down(&f);
    }
}

/* Runs a block's forward pass alone. */
static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x) {
    const sp_cost cost = block->kind->cost(block, batch);
    sp_arena arena = {0};
    assert_int_equal(
        sp_arena_reserve(
            &arena, sp_arena_bytes(cost.bytes_kept) + sp_arena_bytes(cost.bytes_scratch), "a pass"),
        SP_OK);
    char *kept = sp_arena_push(&arena, cost.bytes_kept);
    block->kind->forward(block, batch, y, x, kept, &arena);
    sp_arena_release(&arena);
}

static void take_every_row(sp_batch *batch) {
    int32_t seq = 0;
    assert_int_equal(sp_batch_add_seq(batch, SP_ENCODER, SP_NO_PARENT, 1, &seq), SP_OK);
    for (size_t r = 0; r < N_ROWS; r++) {
        add_row(batch, SP_ENCODER);
        assert_int_equal(sp_batch_take_last_rows(batch, 1), SP_OK);
    }
}

static void a_pooled_slot_is_the_mean_of_its_rows_final_states(void **state) {
    fixture f;
    sp_block *pool = NULL, *take = NULL;
    float pooled[3 * D], states[N_ROWS * D];
    set_up(&f, false);
    take_chunks(&f.batch);
    assert_int_equal(sp_pool_block_create(&pool, &config, &f.norm, SP_ENCODER), SP_OK);
    forward(pool, &f.batch, pooled, f.x);
    sp_batch_clear(&f.batch);
    take_every_row(&f.batch);
    assert_int_equal(sp_take_block_create(&take, &config, &f.norm, SP_ENCODER), SP_OK);
    forward(take, &f.batch, states, f.x);
    for (size_t i = 0; i < D; i++) {
        const float *s = states + i;
        assert_close(pooled[i], (s[0] + s[D]) / 2, 1e-6);
        assert_close(pooled[D + i], s[2 * D], 1e-6);
        assert_close(pooled[2 * D + i], (s[5 * D] + s[6 * D] + s[7 * D]) / 3, 1e-6);
    }
    take->kind->destroy(take);
    pool->kind->destroy(pool);
    tear_down(&f);
}

static void a_merged_slot_is_the_sum_of_its_rows_products(void **state) {
    fixture f;
    sp_block *merge = NULL, *take = NULL;
    float merged[3 * D], states[N_ROWS * D];
    set_up_with(&f, false, true);
    take_chunks(&f.batch);
    assert_int_equal(sp_merge_block_create(&merge, &config, &f.norm, &f.merger, SP_ENCODER), SP_OK);
    forward(merge, &f.batch, merged, f.x);
    sp_batch_clear(&f.batch);
    take_every_row(&f.batch);
    assert_int_equal(sp_take_block_create(&take, &config, &f.norm, SP_ENCODER), SP_OK);
    forward(take, &f.batch, states, f.x);
    static const size_t first[] = {0, 2, 5}, n_rows[] = {2, 1, 3};
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < D; i++) {
            const float *weight = f.merger.weight->value + i * MOST_MERGED * D;
            double sum = 0;
            for (size_t j = 0; j < n_rows[k] * D; j++)
                sum += (double)weight[j] * (double)states[first[k] * D + j];
            assert_close(merged[k * D + i], sum, 1e-5);
        }
    take->kind->destroy(take);
    merge->kind->destroy(merge);
    tear_down(&f);
}

/* A parent whose last row holds a child's target, rows without a target, both losses. */
static void fill_decoder(sp_batch *batch) {
    int32_t prefix = 0, seq = 0;
    assert_int_equal(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 1, &prefix), SP_OK);
    for (size_t r = 0; r < 3; r++) add_row(batch, SP_DECODER);
    assert_int_equal(sp_batch_add_seq(batch, SP_DECODER, prefix, 1, &seq), SP_OK);
    for (size_t r = 0; r < 4; r++) {
        add_row(batch, SP_DECODER);
        if (r != 1) sp_batch_set_target(batch, SP_DECODER, seq, (int32_t)r * 3, SP_RECONSTRUCTION);
    }
    assert_int_equal(sp_batch_add_seq(batch, SP_DECODER, prefix, 1, &seq), SP_OK);
    sp_batch_set_target(batch, SP_DECODER, prefix, 10, SP_COMPLETION);
    for (size_t r = 0; r < 2; r++) add_row(batch, SP_DECODER);
    sp_batch_set_target(batch, SP_DECODER, seq, 0, SP_COMPLETION);
    batch->loss_scale[SP_RECONSTRUCTION] = 0.7F;
    batch->loss_scale[SP_COMPLETION] = 1.9F;
}

static void both_losses_reach_rows_and_norm(void **state) {
    for (int is_norm_trained = 0; is_norm_trained < 2; is_norm_trained++) {
        fixture f;
        sp_block *block = NULL;
        set_up(&f, is_norm_trained);
        fill_decoder(&f.batch);
        assert_int_equal(sp_loss_block_create(&block, &config, &f.norm, f.head, SP_DECODER), SP_OK);
        check_block(block, &f.batch, f.x, N_ROWS, &f.params);
        block->kind->destroy(block);
        tear_down(&f);
    }
}

/* NLL of row r's target, and whether no logit is greater, in f64. */
static double nll_of(const fixture *f, size_t r, int32_t target, bool *is_correct) {
    double squares = 0, logits[VOCABULARY], sum = 0;
    for (size_t i = 0; i < D; i++) squares += pow((double)f->x[r * D + i], 2);
    const double scale = 1 / sqrt(squares / D + config.norm_eps);
    *is_correct = true;
    for (size_t v = 0; v < VOCABULARY; v++) {
        logits[v] = 0;
        for (size_t i = 0; i < D; i++)
            logits[v] += (double)f->x[r * D + i] * scale * (double)f->frozen_norm[i] *
                         (double)f->head_weight[v * D + i];
        sum += exp(logits[v]);
    }
    for (size_t v = 0; v < VOCABULARY; v++)
        if (logits[v] > logits[target]) *is_correct = false;
    return log(sum) - logits[target];
}

static void losses_are_sums_over_their_own_targets(void **state) {
    for (int is_training = 0; is_training < 2; is_training++) {
        fixture f;
        sp_block *block = NULL;
        set_up(&f, false);
        fill_decoder(&f.batch);
        const sp_rows *rows = &f.batch.rows[SP_DECODER];
        f.batch.is_training = is_training;
        f.batch.target_nll = (double[N_ROWS]){0};
        assert_int_equal(sp_loss_block_create(&block, &config, &f.norm, f.head, SP_DECODER), SP_OK);
        const sp_cost cost = block->kind->cost(block, &f.batch);
        sp_arena arena = {0};
        assert_int_equal(
            sp_arena_reserve(&arena,
                             sp_arena_bytes(cost.bytes_kept) + sp_arena_bytes(cost.bytes_scratch),
                             "a pass"),
            SP_OK);
        char *kept = sp_arena_push(&arena, cost.bytes_kept);
        block->kind->forward(block, &f.batch, NULL, f.x, kept, &arena);

        double sums[SP_N_LOSSES] = {0};
        size_t n_targets[SP_N_LOSSES] = {0}, n_correct[SP_N_LOSSES] = {0}, n = 0;
        for (size_t r = 0; r < N_ROWS; r++) {
            if (rows->targets[r] == SP_NO_TARGET) continue;
            bool is_correct = false;
            const double nll = nll_of(&f, r, rows->targets[r], &is_correct);
            assert_close(f.batch.target_nll[n++], nll, 1e-5);
            sums[rows->target_loss[r]] += nll;
            n_targets[rows->target_loss[r]]++;
            n_correct[rows->target_loss[r]] += is_correct;
        }
        assert_int_equal(n, 5);
        for (int loss = 0; loss < SP_N_LOSSES; loss++) {
            assert_close(f.batch.loss_sum[loss], sums[loss], 1e-5);
            assert_int_equal(f.batch.n_targets[loss], n_targets[loss]);
            if (!is_training) assert_int_equal(f.batch.n_correct[loss], n_correct[loss]);
        }
        sp_arena_release(&arena);
        block->kind->destroy(block);
        tear_down(&f);
    }
}

static void a_batch_without_targets_has_no_loss_and_no_gradient(void **state) {
    fixture f;
    sp_block *block = NULL;
    int32_t seq = 0;
    set_up(&f, true);
    assert_int_equal(sp_batch_add_seq(&f.batch, SP_DECODER, SP_NO_PARENT, 1, &seq), SP_OK);
    for (size_t r = 0; r < N_ROWS; r++) add_row(&f.batch, SP_DECODER);
    assert_int_equal(sp_loss_block_create(&block, &config, &f.norm, f.head, SP_DECODER), SP_OK);
    sp_arena arena = {0};
    assert_int_equal(sp_arena_reserve(&arena, 1 << 16, "a pass"), SP_OK);
    char *kept = sp_arena_push(&arena, block->kind->cost(block, &f.batch).bytes_kept);
    float dx[N_ROWS * D];
    block->kind->forward(block, &f.batch, NULL, f.x, kept, &arena);
    block->kind->backward(block, &f.batch, dx, NULL, f.x, kept, &arena);
    for (size_t i = 0; i < N_ROWS * D; i++) assert_true(dx[i] == 0);
    for (size_t i = 0; i < D; i++) assert_true(f.params.grads[i] == 0);
    for (int loss = 0; loss < SP_N_LOSSES; loss++) assert_int_equal(f.batch.n_targets[loss], 0);
    sp_arena_release(&arena);
    block->kind->destroy(block);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_rows_and_only_they_get_a_gradient),
        cmocka_unit_test(pooled_rows_share_a_slots_gradient),
        cmocka_unit_test(merged_rows_each_get_their_matrix_s_gradient),
        cmocka_unit_test(a_merged_slot_is_the_sum_of_its_rows_products),
        cmocka_unit_test(a_pooled_slot_is_the_mean_of_its_rows_final_states),
        cmocka_unit_test(both_losses_reach_rows_and_norm),
        cmocka_unit_test(losses_are_sums_over_their_own_targets),
        cmocka_unit_test(a_batch_without_targets_has_no_loss_and_no_gradient),
    };
    return cmocka_run_group_tests_name("take and loss", tests, NULL, NULL);
}
