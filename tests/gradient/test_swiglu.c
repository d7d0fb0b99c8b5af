#include "tests/check.h"

#include "tensor/swiglu.h"
#include "tests/values.h"

enum { MAX = 4099 };
static const size_t lengths[] = {0, 1, 15, 33, 2049, MAX};

static double silu(double z) { return z / (1 + exp(-z)); }

static double slope(double z) { return (silu(z + 1e-4) - silu(z - 1e-4)) / 2e-4; }

static void both_passes_match_definition_and_differences(void **state) {
    static float gate[MAX], up[MAX], dh[MAX], h[MAX], dgate[MAX], dup[MAX];
    fill_values(gate, MAX, 1);
    fill_values(up, MAX, 2);
    fill_values(dh, MAX, 3);
    for (size_t i = 0; i < MAX; i++) gate[i] *= 8;
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        const size_t n = lengths[l];
        sp_swiglu_forward(h, gate, up, n, n == 0 ? 0 : 1, n);
        sp_swiglu_backward(dgate, dup, dh, gate, up, n, n == 0 ? 0 : 1, n);
        for (size_t i = 0; i < n; i++) {
            const double z = (double)gate[i], u = (double)up[i], d = (double)dh[i];
            assert_close(h[i], silu(z) * u, 1e-6);
            assert_close(dgate[i], d * u * slope(z), 1e-6);
            assert_close(dup[i], d * silu(z), 1e-6);
        }
    }
}

/* gate and up side by side in rows, as a fused matrix writes them; gradients take their places. */
static void halves_of_wide_rows_are_as_good_as_matrices(void **state) {
    enum { ROWS = 3, D = 37, LD = 2 * D };
    float wide[ROWS * LD], dh[ROWS * D], h[ROWS * D];
    float gate[ROWS * D], up[ROWS * D], same[ROWS * D], dgate[ROWS * D], dup[ROWS * D];
    fill_values(wide, ROWS * LD, 1);
    fill_values(dh, ROWS * D, 3);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < D; i++) {
            gate[r * D + i] = wide[r * LD + i];
            up[r * D + i] = wide[r * LD + D + i];
        }
    sp_swiglu_forward(h, wide, wide + D, LD, ROWS, D);
    sp_swiglu_forward(same, gate, up, D, ROWS, D);
    sp_swiglu_backward(dgate, dup, dh, gate, up, D, ROWS, D);
    sp_swiglu_backward(wide, wide + D, dh, wide, wide + D, LD, ROWS, D);
    for (size_t k = 0; k < ROWS * D; k++) {
        const size_t at = k / D * LD + k % D;
        assert_true(h[k] == same[k]);
        assert_true(wide[at] == dgate[k] && wide[at + D] == dup[k]);
    }
    sp_swiglu_forward(gate, gate, up, D, ROWS, D);
    assert_memory_equal(gate, h, sizeof h);
}

static void far_gates_are_closed_or_open(void **state) {
    const float gate[] = {-1000, -90, 90, 1000}, up[] = {1, 1, 1, 1};
    float h[4];
    sp_swiglu_forward(h, gate, up, 4, 1, 4);
    assert_close(h[0], 0, 1e-30);
    assert_close(h[1], 0, 1e-30);
    assert_true(h[2] == 90 && h[3] == 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_match_definition_and_differences),
        cmocka_unit_test(halves_of_wide_rows_are_as_good_as_matrices),
        cmocka_unit_test(far_gates_are_closed_or_open),
    };
    return cmocka_run_group_tests_name("swiglu", tests, NULL, NULL);
}
