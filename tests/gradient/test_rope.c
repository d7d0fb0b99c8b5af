#include "tests/check.h"

#include "tensor/rope.h"
#include "tests/unit/kernel_fixtures.h"
#include "tests/values.h"

#include <stdbool.h>

static const sp_rope_scaling none = {.kind = SP_ROPE_DEFAULT};
static const sp_rope_scaling llama3 = {.kind = SP_ROPE_LLAMA3,
                                       .factor = 8,
                                       .low_freq_factor = 1,
                                       .high_freq_factor = 4,
                                       .original_max_position_embeddings = 8192};

static void check_table(double theta, const sp_rope_scaling *scaling, const double *inv_freq,
                        const double *cos_777, const double *sin_777) {
    enum { HEAD_DIM = 64, HALF = HEAD_DIM / 2, POSITIONS = 778 };
    static float cos_table[POSITIONS * HALF], sin_table[POSITIONS * HALF];
    float ours[HALF];
    sp_rope_make_inv_freq(ours, HEAD_DIM, theta, scaling, false);
    sp_rope_make_table(cos_table, sin_table, ours, HEAD_DIM, 1, POSITIONS, 1);
    for (size_t i = 0; i < HALF; i++) {
        assert_close((double)ours[i] / inv_freq[i], 1, 2.5e-7); /* two steps of f32 */
        const double angle = 777 * 2.5e-7 * inv_freq[i] + 2e-7; /* what that makes of the angle */
        assert_close(cos_table[777 * HALF + i], cos_777[i], angle);
        assert_close(sin_table[777 * HALF + i], sin_777[i], angle);
    }
}

static void tables_are_those_of_transformers(void **state) {
    check_table(100000, &none, rope_default_inv_freq, rope_default_cos_777, rope_default_sin_777);
    check_table(500000, &llama3, rope_llama3_inv_freq, rope_llama3_cos_777, rope_llama3_sin_777);
}

/* Heads of 6 in rows of 20 values: 3 heads and a margin of 2. */
enum { HEAD_DIM = 6, HALF = 3, HEADS = 3, LD = 20, ROWS = 5, POSITIONS = 9 };

static void rotation_matches_definition_and_backward_is_its_transpose(void **state) {
    float inv_freq[HALF], cos_table[POSITIONS * HALF], sin_table[POSITIONS * HALF];
    sp_rope_make_inv_freq(inv_freq, HEAD_DIM, 10000, &none, false);
    sp_rope_make_table(cos_table, sin_table, inv_freq, HEAD_DIM, 1, POSITIONS, 1);
    const sp_rope rope = {cos_table, sin_table, HEAD_DIM, HEAD_DIM, POSITIONS};
    const uint32_t positions[ROWS] = {0, 8, 3, 3, 1};
    const double rounding = 1e-6;

    float x[ROWS * LD], y[ROWS * LD], dy[ROWS * LD], dx[ROWS * LD];
    fill_values(x, ROWS * LD, 1);
    fill_values(dy, ROWS * LD, 2);
    memcpy(y, x, sizeof y);
    memcpy(dx, dy, sizeof dx);
    sp_rope_forward(&rope, y, LD, positions, ROWS, HEADS);
    sp_rope_backward(&rope, dx, LD, positions, ROWS, HEADS);
    double forward = 0, backward = 0; /* dy . J x = J^T dy . x */
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t k = HEADS * HEAD_DIM; k < LD; k++) assert_true(y[r * LD + k] == x[r * LD + k]);
        for (size_t k = 0; k < HEADS * HEAD_DIM; k++) {
            const size_t i = k % HEAD_DIM % HALF, low = r * LD + k / HEAD_DIM * HEAD_DIM + i;
            const double angle = positions[r] * pow(10000, -2.0 * (double)i / HEAD_DIM);
            const double a = (double)x[low], b = (double)x[low + HALF];
            const bool is_low = k % HEAD_DIM < HALF;
            assert_close(y[r * LD + k],
                         is_low ? a * cos(angle) - b * sin(angle) : b * cos(angle) + a * sin(angle),
                         rounding);
            forward += (double)y[r * LD + k] * (double)dy[r * LD + k];
            backward += (double)x[r * LD + k] * (double)dx[r * LD + k];
        }
    }
    assert_close(backward, forward, rounding);
    sp_rope_backward(&rope, y, LD, positions, ROWS, HEADS);
    for (size_t k = 0; k < ROWS * LD; k++) assert_close(y[k], x[k], rounding);
    sp_rope_forward(&rope, NULL, LD, NULL, 0, HEADS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_those_of_transformers),
        cmocka_unit_test(rotation_matches_definition_and_backward_is_its_transpose),
    };
    return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}
