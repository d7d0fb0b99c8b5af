#include "tests/check.h"

#include "tensor/swiglu.h"
#include "tests/values.h"

enum { MAX = 4099 };
static const size_t lengths[] = {0, 1, 15, 33, 2049, MAX};

static double silu(double z) { return z / (1 + exp(-z)); }

static double slope(double z) { return (silu(z + 1e-4) - silu(z - 1e-4)) / 2e-4; }

static void both_passes_match_definition_and_differences(void **state) {
    static float gate[MAX], up[MAX], dh[MAX], h[MAX], again[MAX], dgate[MAX], dup[MAX];
    fill_values(gate, MAX, 1);
    fill_values(up, MAX, 2);
    fill_values(dh, MAX, 3);
    for (size_t i = 0; i < MAX; i++) gate[i] *= 8;
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        const size_t n = lengths[l];
        sp_swiglu_forward(h, gate, up, n);
        sp_swiglu_backward(dgate, dup, again, dh, gate, up, n);
        for (size_t i = 0; i < n; i++) {
            const double z = (double)gate[i], u = (double)up[i], d = (double)dh[i];
            assert_close(h[i], silu(z) * u, 1e-6);
            assert_close(again[i], h[i], 1e-6);
            assert_close(dgate[i], d * u * slope(z), 1e-6);
            assert_close(dup[i], d * silu(z), 1e-6);
        }
    }
}

static void outputs_may_take_the_place_of_inputs(void **state) {
    enum { N = 37 };
    float gate[N], up[N], dh[N], dgate[N], dup[N], h[N];
    fill_values(gate, N, 1);
    fill_values(up, N, 2);
    fill_values(dh, N, 3);
    sp_swiglu_backward(dgate, dup, NULL, dh, gate, up, N);
    sp_swiglu_forward(h, gate, up, N);
    sp_swiglu_backward(gate, up, dh, dh, gate, up, N);
    for (size_t i = 0; i < N; i++) {
        assert_true(gate[i] == dgate[i] && up[i] == dup[i]);
        assert_close(dh[i], h[i], 1e-6);
    }
}

static void far_gates_are_closed_or_open(void **state) {
    const float gate[] = {-1000, -90, 90, 1000}, up[] = {1, 1, 1, 1};
    float h[4];
    sp_swiglu_forward(h, gate, up, 4);
    assert_close(h[0], 0, 1e-30);
    assert_close(h[1], 0, 1e-30);
    assert_true(h[2] == 90 && h[3] == 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_match_definition_and_differences),
        cmocka_unit_test(outputs_may_take_the_place_of_inputs),
        cmocka_unit_test(far_gates_are_closed_or_open),
    };
    return cmocka_run_group_tests_name("swiglu", tests, NULL, NULL);
}
