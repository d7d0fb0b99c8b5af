#include "tests/check.h"

#include "base/rng.h"
#include "model/dropout.h"
#include "tests/values.h"

#include <stdlib.h>

enum { MODULE = 7 };

/* One sequence in a batch. */
typedef struct one {
    uint64_t sample;
    size_t len;
} one;

static void fill_batch(sp_batch *batch, const one *seqs, size_t n_seqs) {
    sp_batch_clear(batch);
    for (size_t s = 0; s < n_seqs; s++) {
        int32_t seq = 0;
        assert_int_equal(sp_batch_add_seq(batch, SP_ENCODER, SP_NO_PARENT, seqs[s].sample, &seq),
                         SP_OK);
        for (size_t r = 0; r < seqs[s].len; r++)
            assert_int_equal(sp_batch_add_row(batch, SP_ENCODER, 0), SP_OK);
    }
}

/* y [rows of the batch, d], owned: the factor of each value. */
static float *draw(const sp_batch *batch, size_t d, uint32_t module, float p) {
    const sp_rows *rows = &batch->rows[SP_ENCODER];
    const size_t n = rows->n_rows * d;
    float *mask = malloc((n + 1) * sizeof *mask);
    for (size_t i = 0; i < n; i++) mask[i] = 1;
    sp_dropout_forward(mask, mask, d, rows, module, p);
    return mask;
}

static double share_dropped(const float *mask, size_t n) {
    size_t dropped = 0;
    for (size_t i = 0; i < n; i++) dropped += mask[i] == 0;
    return (double)dropped / (double)n;
}

static void kept_values_are_scaled_and_the_rate_is_met(void **state) {
    enum { ROWS = 200, D = 333 };
    static const float rates[] = {0, 0.1F, 0.25F, 0.5F, 0.9F};
    sp_batch batch = {0};
    fill_batch(&batch, &(one){42, ROWS}, 1);
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        const float p = rates[i];
        float *mask = draw(&batch, D, MODULE, p);
        for (size_t k = 0; k < ROWS * D; k++)
            if (mask[k] != 0) assert_close(mask[k], 1 / (1 - p), 1e-6);
        /* five deviations of a binomial */
        const double tolerance = 5 * sqrt((double)(p * (1 - p)) / (ROWS * D)) + 1e-5;
        assert_true(fabs(share_dropped(mask, ROWS * D) - (double)p) <= tolerance);
        free(mask);
    }
    sp_batch_free(&batch);
}

/* The header's definition: Philox of (column block, row, module, 0) under the sample decides. Each
   counter gives 8 columns of 16 bits; which ones, is the file's own affair, so that what is compared
   is the number dropped of a block of 128 columns. */
static void a_row_is_philox_of_where_it_stands(void **state) {
    enum { D = 128, ROW = 3 };
    const uint64_t sample = 0x0123456789ABCDEFULL;
    const float p = 0.3F;
    const uint32_t key[2] = {0x89ABCDEFU, 0x01234567U};
    const uint32_t threshold = (uint32_t)lround(0.3 * 65536);
    size_t expected = 0;
    for (uint32_t block = 0; block < D / 8; block++) {
        const uint32_t counter[4] = {block, ROW, MODULE, 0};
        uint32_t out[4];
        sp_philox(out, counter, key);
        for (size_t w = 0; w < 4; w++)
            expected += (size_t)((out[w] & 0xFFFF) < threshold) + (out[w] >> 16 < threshold);
    }
    sp_batch batch = {0};
    fill_batch(&batch, &(one){sample, ROW + 1}, 1);
    float *mask = draw(&batch, D, MODULE, p);
    size_t dropped = 0;
    for (size_t i = 0; i < D; i++) dropped += mask[ROW * D + i] == 0;
    assert_int_equal(dropped, expected);
    free(mask);
    sp_batch_free(&batch);
}

/* Two masks at p = 1/2 agree in half of the places if they are independent. */
static void assert_independent(const float *a, const float *b, size_t n) {
    size_t same = 0;
    for (size_t i = 0; i < n; i++) same += (a[i] == 0) == (b[i] == 0);
    assert_true(fabs((double)same / (double)n - 0.5) < 2.5 / sqrt((double)n));
}

static void masks_differ_by_module_sample_and_row(void **state) {
    enum { ROWS = 16, D = 256 };
    sp_batch batch = {0};
    fill_batch(&batch, (one[]){{1, ROWS}, {2, ROWS}, {1ULL << 32, ROWS}}, 3);
    float *mask = draw(&batch, D, MODULE, 0.5F), *other = draw(&batch, D, MODULE + 1, 0.5F);
    const size_t n = ROWS * D;
    assert_independent(mask, other, n);
    assert_independent(mask, mask + n, n);         /* low half of the key */
    assert_independent(mask, mask + 2 * n, n);     /* and the high half */
    assert_independent(mask, mask + D, n - D);     /* row against the next */
    assert_independent(mask, mask + 1, n - 1);     /* column against the next */
    assert_independent(mask, mask + 128, n - 128); /* and against the next block's */
    free(other);
    free(mask);
    sp_batch_free(&batch);
}

static void a_sequence_keeps_its_mask_in_any_batch(void **state) {
    enum { LEN = 5, D = 130 };
    sp_batch alone = {0}, among = {0};
    fill_batch(&alone, &(one){77, LEN}, 1);
    fill_batch(&among, (one[]){{5, 3}, {6, 0}, {77, LEN}, {8, 2}}, 4);
    float *expected = draw(&alone, D, MODULE, 0.4F), *mask = draw(&among, D, MODULE, 0.4F);
    assert_memory_equal(mask + 3 * D, expected, LEN * D * sizeof *mask);
    free(mask);
    /* a longer sequence begins with the rows of a shorter one */
    fill_batch(&among, &(one){77, LEN + 4}, 1);
    mask = draw(&among, D, MODULE, 0.4F);
    assert_memory_equal(mask, expected, LEN * D * sizeof *mask);
    free(mask);
    free(expected);
    sp_batch_free(&among);
    sp_batch_free(&alone);
}

static void backward_adds_with_the_mask_of_forward(void **state) {
    static const size_t widths[] = {1, 7, 8, 127, 128, 129, 300};
    enum { ROWS = 6, MAX_D = 300 };
    float x[ROWS * MAX_D], dx[ROWS * MAX_D];
    sp_batch batch = {0};
    fill_batch(&batch, (one[]){{9, 4}, {10, 2}}, 2);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        const size_t d = widths[i], n = ROWS * d;
        float *mask = draw(&batch, d, MODULE, 0.3F);
        fill_values(x, n, 4);
        for (size_t k = 0; k < n; k++) dx[k] = 2;
        sp_dropout_backward(dx, x, d, &batch.rows[SP_ENCODER], MODULE, 0.3F);
        for (size_t k = 0; k < n; k++) assert_close(dx[k], 2 + x[k] * mask[k], 1e-6);
        free(mask);
    }
    sp_batch_free(&batch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_values_are_scaled_and_the_rate_is_met),
        cmocka_unit_test(a_row_is_philox_of_where_it_stands),
        cmocka_unit_test(masks_differ_by_module_sample_and_row),
        cmocka_unit_test(a_sequence_keeps_its_mask_in_any_batch),
        cmocka_unit_test(backward_adds_with_the_mask_of_forward),
    };
    return cmocka_run_group_tests_name("dropout", tests, NULL, NULL);
}
