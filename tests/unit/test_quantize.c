/* Quantised rows against their definition, with Hadamard's matrix written down by the parity of its
   indices' common bits. */
#include "tests/check.h"

#include "tensor/quantize.h"
#include "tests/values.h"

#include <float.h>
#include <stdlib.h>

enum { MAX_ROWS = 5, MAX_N = 1536 };

static const size_t lengths[] = {1, 2, 3, 12, 33, 64, 96, 576, 1024, 1536};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static float x[MAX_ROWS * MAX_N], turned[MAX_N];
static uint8_t q[MAX_ROWS * MAX_N];
static int16_t q_s16[MAX_ROWS * MAX_N];
static int8_t q_weight[MAX_ROWS * MAX_N];

/* b of the header. */
static size_t n_mixed(size_t n) {
    size_t b = 1;
    while (b < 128 && n % (2 * b) == 0) b *= 2;
    return b;
}

/* Writes x H to `turned`. */
static void turn(const float *row, size_t n) {
    const size_t b = n_mixed(n), stride = n / b;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < b; j++) {
            const int is_odd = __builtin_parityl(i / stride & j);
            sum += (is_odd ? -1.0 : 1.0) * (double)row[j * stride + i % stride];
        }
        turned[i] = (float)sum;
    }
}

static void quantize(sp_row_scale *scales, size_t n_rows, size_t n) {
    void *room = aligned_alloc(64, sp_quantize_room_bytes(n));
    sp_quantize_rows_u8(q, scales, x, n_rows, n, room);
    free(room);
}

static void quantize_s16(sp_row_scale *scales, size_t n_rows, size_t n) {
    void *room = aligned_alloc(64, sp_quantize_room_bytes(n));
    sp_quantize_rows_s16(q_s16, scales, x, n_rows, n, room);
    free(room);
}

static const double half_step = 0.5001; /* of rounding, with some of f32's own */

static void turned_rows_are_within_half_a_step(void **state) {
    for (size_t k = 0; k < N_LENGTHS; k++) {
        const size_t n = lengths[k];
        sp_row_scale scales[MAX_ROWS];
        fill_values(x, MAX_ROWS * n, (uint32_t)k + 1);
        x[n / 2] = 40; /* as models have them */
        quantize(scales, MAX_ROWS, n);
        for (size_t r = 0; r < MAX_ROWS; r++) {
            double low = 0, high = 0;
            turn(x + r * n, n);
            for (size_t i = 0; i < n; i++) {
                const int steps = q[r * n + i] - scales[r].zero;
                low = fmin(low, (double)turned[i]);
                high = fmax(high, (double)turned[i]);
                if (!(fabs((double)turned[i] / (double)scales[r].scale - steps) <= 2 * half_step))
                    fail_msg("n %zu: %g is not %d steps of %g", n, (double)turned[i], steps,
                             (double)scales[r].scale);
            }
            assert_close((double)scales[r].scale * 255, high - low, 1e-5);
        }
    }
}

static void rows_in_s16_are_within_half_a_step_and_leave_room_for_sums(void **state) {
    for (size_t k = 0; k < N_LENGTHS; k++) {
        const size_t n = lengths[k];
        sp_row_scale scales[MAX_ROWS];
        fill_values(x, MAX_ROWS * n, (uint32_t)k + 1);
        x[n / 2] = 40;
        quantize_s16(scales, MAX_ROWS, n);
        for (size_t r = 0; r < MAX_ROWS; r++) {
            int greatest = 0;
            turn(x + r * n, n);
            assert_int_equal(scales[r].zero, 0);
            for (size_t i = 0; i < n; i++) {
                const int steps = q_s16[r * n + i];
                /* turning rounds, too, by some 1e-6 of the greatest value */
                const double slack = half_step + 2e-6 * 32767;
                greatest = abs(steps) > greatest ? abs(steps) : greatest;
                if (!(fabs((double)turned[i] / (double)scales[r].scale - steps) <= slack))
                    fail_msg("n %zu: %g is not %d steps of %g", n, (double)turned[i], steps,
                             (double)scales[r].scale);
            }
            assert_in_range(greatest, n < 500 ? 32767 : 11000, 32767);
            assert_true((long)greatest * 127 * (long)n <= INT32_MAX);
        }
    }
}

static void weights_come_back_within_half_a_step_and_their_sums_are_right(void **state) {
    static float weight[MAX_ROWS * MAX_N], back[MAX_N];
    for (size_t k = 0; k < N_LENGTHS; k++) {
        const size_t n = lengths[k];
        float scales[MAX_ROWS];
        int32_t sums[MAX_ROWS];
        fill_values(x, MAX_ROWS * n, (uint32_t)k + 9);
        memcpy(weight, x, MAX_ROWS * n * sizeof *weight);
        sp_quantize_weight(q_weight, scales, sums, weight, MAX_ROWS, n);
        for (size_t r = 0; r < MAX_ROWS; r++) {
            long sum = 0;
            int greatest = 0;
            double squares = 0;
            for (size_t i = 0; i < n; i++) {
                const int value = q_weight[r * n + i];
                sum += value;
                greatest = abs(value) > greatest ? abs(value) : greatest;
            }
            assert_int_equal(sums[r], sum);
            assert_int_equal(greatest, 127);
            sp_quantize_expand(back, q_weight + r * n, scales[r], n);
            for (size_t i = 0; i < n; i++)
                squares += pow((double)back[i] - (double)x[r * n + i], 2);
            /* Each turned value is off by half a step at most, and turning back keeps lengths but
               for the factor that the scale holds. */
            const double step = (double)scales[r] * sqrt((double)n_mixed(n));
            assert_true(sqrt(squares / (double)n) <= half_step * step);
        }
    }
}

/* sum q q of rows that are multiples of their steps is the product itself. */
static void products_of_whole_steps_are_exact(void **state) {
    enum { N_OUT = 3, PAD = 2 };
    for (size_t k = 0; k < N_LENGTHS; k++) {
        const size_t n = lengths[k];
        static float weight[N_OUT * MAX_N], wanted_weight[N_OUT * MAX_N];
        float y[MAX_ROWS * (N_OUT + PAD)], scales[N_OUT];
        int32_t sums[N_OUT];
        sp_row_scale x_scales[MAX_ROWS];
        double products[MAX_ROWS][N_OUT] = {{0}};
        uint32_t seed = 5;
        for (size_t i = 0; i < N_OUT * n; i++)
            weight[i] = (float)((seed = seed * 1664525U + 1013904223U) >> 16) / 256 - 127;
        for (size_t i = 0; i < N_OUT * n; i++) weight[i] = truncf(fminf(weight[i], 127));
        for (size_t i = 0; i < N_OUT; i++) weight[i * n] = 127;
        for (size_t i = 0; i < MAX_ROWS * n; i++)
            x[i] = (float)((seed = seed * 1664525U + 1013904223U) >> 24) - 100;
        for (size_t r = 0; r < MAX_ROWS; r++) { /* its range says what a step is */
            x[r * n] = -100;
            x[r * n + n - 1] = 155;
        }
        for (size_t r = 0; r < MAX_ROWS; r++)
            for (size_t i = 0; i < N_OUT; i++)
                for (size_t j = 0; j < n; j++)
                    products[r][i] += (double)x[r * n + j] * (double)weight[i * n + j];
        for (size_t i = 0; i < N_OUT; i++) { /* so that turning them gives the above */
            turn(weight + i * n, n);
            memcpy(wanted_weight + i * n, turned, n * sizeof *turned);
        }
        for (size_t r = 0; r < MAX_ROWS; r++) {
            turn(x + r * n, n);
            for (size_t j = 0; j < n; j++) x[r * n + j] = turned[j] / (float)n_mixed(n);
        }
        sp_quantize_weight(q_weight, scales, sums, wanted_weight, N_OUT, n);
        quantize(x_scales, MAX_ROWS, n);
        for (size_t r = 0; r < MAX_ROWS; r++)
            for (size_t i = 0; i < N_OUT; i++) {
                int32_t sum = 0;
                for (size_t j = 0; j < n; j++) sum += q[r * n + j] * q_weight[i * n + j];
                memcpy(&y[r * (N_OUT + PAD) + i], &sum, sizeof sum);
            }
        y[N_OUT] = 77; /* beside the columns */
        sp_quantize_finish(y, N_OUT + PAD, x_scales, scales, sums, MAX_ROWS, N_OUT);
        for (size_t r = 0; r < MAX_ROWS && n > 1; r++)
            for (size_t i = 0; i < N_OUT; i++)
                assert_close(y[r * (N_OUT + PAD) + i], products[r][i], 1e-6);
        assert_true(y[N_OUT] == 77);
    }
}

static void zeros_are_exact_and_values_at_the_ends_of_f32_are_taken(void **state) {
    static const float tops[] = {0, 1e-45F, 1e-38F, 1e-20F, 1e30F, 3e38F};
    for (size_t k = 0; k < sizeof tops / sizeof tops[0]; k++) {
        enum { N = 3 }; /* odd: not turned, so that sums cannot overflow */
        sp_row_scale scales[2];
        float scale, weight[N] = {0, tops[k], -tops[k]};
        int32_t sum;
        memcpy(x, weight, sizeof weight);
        quantize(scales, 1, N);
        assert_int_equal(q[0], scales[0].zero);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs((double)scales[0].scale * (q[i] - scales[0].zero) - (double)x[i]) <=
                        0.01 * (double)tops[k] + 6e-36);
        sp_quantize_weight(q_weight, &scale, &sum, weight, 1, N);
        assert_int_equal(q_weight[0], 0);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs((double)scale * q_weight[i] - (double)x[i]) <=
                        0.01 * (double)tops[k] + 6e-36);
    }
}

static void rows_that_are_not_finite_make_nan_and_spoil_no_other(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < 3; k++)
        for (size_t n = 7; n <= 64; n += 57)
            for (size_t at = 0; at < n; at++) {
                sp_row_scale scales[3];
                float weight_scales[3];
                int32_t sums[3];
                fill_values(x, 3 * n, 3);
                x[n + at] = bad[k];
                quantize(scales, 3, n);
                assert_true(isnan(scales[1].scale));
                assert_true(isfinite(scales[0].scale) && isfinite(scales[2].scale));
                quantize_s16(scales, 3, n);
                assert_true(isnan(scales[1].scale));
                assert_true(isfinite(scales[0].scale) && isfinite(scales[2].scale));
                sp_quantize_weight(q_weight, weight_scales, sums, x, 3, n);
                assert_true(isnan(weight_scales[1]));
                assert_true(isfinite(weight_scales[0]) && isfinite(weight_scales[2]));
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turned_rows_are_within_half_a_step),
        cmocka_unit_test(rows_in_s16_are_within_half_a_step_and_leave_room_for_sums),
        cmocka_unit_test(weights_come_back_within_half_a_step_and_their_sums_are_right),
        cmocka_unit_test(products_of_whole_steps_are_exact),
        cmocka_unit_test(zeros_are_exact_and_values_at_the_ends_of_f32_are_taken),
        cmocka_unit_test(rows_that_are_not_finite_make_nan_and_spoil_no_other),
    };
    return cmocka_run_group_tests_name("quantize", tests, NULL, NULL);
}
