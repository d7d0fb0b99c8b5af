#include "tests/check.h"

#include "chain/batch.h"

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static int32_t add_seq(sp_batch *batch, int32_t parent, uint64_t sample, size_t n_rows) {
    int32_t seq = -1;
    must(sp_batch_add_seq(batch, SP_DECODER, parent, sample, &seq));
    for (size_t r = 0; r < n_rows; r++) must(sp_batch_add_row(batch, SP_DECODER, (int32_t)r));
    return seq;
}

static void positions_count_from_the_parents_end(void **state) {
    sp_batch batch = {0};
    assert_int_equal(add_seq(&batch, SP_NO_PARENT, 7, 3), 0);
    assert_int_equal(add_seq(&batch, 0, 7, 2), 1);
    assert_int_equal(add_seq(&batch, 0, 7, 4), 2);
    assert_int_equal(add_seq(&batch, SP_NO_PARENT, 8, 1), 3);
    static const uint32_t positions[] = {0, 1, 2, 3, 4, 3, 4, 5, 6, 0};
    static const sp_attention_seq seqs[] = {{0, 3, -1}, {3, 2, 0}, {5, 4, 0}, {9, 1, -1}};
    const sp_rows *rows = &batch.rows[SP_DECODER];
    assert_int_equal(rows->n_rows, 10);
    assert_int_equal(rows->n_seqs, 4);
    assert_memory_equal(rows->positions, positions, sizeof positions);
    for (size_t s = 0; s < 4; s++) {
        assert_int_equal(rows->seqs[s].begin, seqs[s].begin);
        assert_int_equal(rows->seqs[s].len, seqs[s].len);
        assert_int_equal(rows->seqs[s].parent, seqs[s].parent);
        assert_int_equal(rows->samples[s], s < 3 ? 7 : 8);
    }
    assert_int_equal(batch.rows[SP_ENCODER].n_rows, 0);
    sp_batch_free(&batch);
}

static void a_target_goes_to_the_last_row_of_any_sequence(void **state) {
    sp_batch batch = {0};
    const int32_t parent = add_seq(&batch, SP_NO_PARENT, 1, 3);
    const int32_t child = add_seq(&batch, parent, 1, 2);
    sp_batch_set_target(&batch, SP_DECODER, parent, 11, SP_COMPLETION);
    sp_batch_set_target(&batch, SP_DECODER, child, 12, SP_RECONSTRUCTION);
    static const int32_t targets[] = {SP_NO_TARGET, SP_NO_TARGET, 11, SP_NO_TARGET, 12};
    const sp_rows *rows = &batch.rows[SP_DECODER];
    assert_memory_equal(rows->targets, targets, sizeof targets);
    assert_int_equal(rows->target_loss[2], SP_COMPLETION);
    assert_int_equal(rows->target_loss[4], SP_RECONSTRUCTION);
    sp_batch_free(&batch);
}

static void a_batch_grows_without_losing_rows(void **state) {
    enum { N = 1000 };
    sp_batch batch = {0};
    for (int32_t i = 0; i < N; i++) {
        int32_t seq = 0;
        must(sp_batch_add_seq(&batch, SP_ENCODER, SP_NO_PARENT, (uint64_t)i, &seq));
        must(sp_batch_add_row(&batch, SP_ENCODER, i));
        must(sp_batch_take_last_rows(&batch, 1));
    }
    const sp_rows *rows = &batch.rows[SP_ENCODER];
    assert_int_equal(batch.n_taken, N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(rows->ids[i], i);
        assert_int_equal(rows->seqs[i].begin, i);
        assert_int_equal(rows->samples[i], i);
        assert_int_equal(batch.taken[i], i);
        assert_int_equal(batch.taken_rows[i], 1);
    }
    sp_batch_free(&batch);
}

static void a_cleared_batch_is_empty_and_keeps_scales(void **state) {
    sp_batch batch = {.is_training = true, .loss_scale = {0.5F, 0.25F}};
    add_seq(&batch, SP_NO_PARENT, 1, 300);
    sp_batch_set_target(&batch, SP_DECODER, 0, 3, SP_COMPLETION);
    batch.loss_sum[SP_COMPLETION] = 1;
    batch.n_targets[SP_COMPLETION] = batch.n_correct[SP_COMPLETION] = 2;
    sp_batch_clear(&batch);
    assert_int_equal(batch.rows[SP_DECODER].n_rows, 0);
    assert_int_equal(batch.rows[SP_DECODER].n_seqs, 0);
    assert_true(batch.loss_sum[SP_COMPLETION] == 0);
    assert_int_equal(batch.n_targets[SP_COMPLETION], 0);
    assert_int_equal(batch.n_correct[SP_COMPLETION], 0);
    assert_true(batch.loss_scale[SP_RECONSTRUCTION] == 0.5F);
    add_seq(&batch, SP_NO_PARENT, 1, 1); /* what stood there before is gone */
    assert_int_equal(batch.rows[SP_DECODER].targets[0], SP_NO_TARGET);
    assert_int_equal(batch.rows[SP_DECODER].positions[0], 0);
    sp_batch_free(&batch);
    sp_batch_free(&batch); /* twice is fine */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_count_from_the_parents_end),
        cmocka_unit_test(a_target_goes_to_the_last_row_of_any_sequence),
        cmocka_unit_test(a_batch_grows_without_losing_rows),
        cmocka_unit_test(a_cleared_batch_is_empty_and_keeps_scales),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
