#include "tests/check.h"

#include "tensor/gelu.h"
#include "tests/values.h"

enum { N = 301 };

static double gelu(double x) { return x / 2 * erfc(-x / sqrt(2)); }

static void both_passes_match_definition_and_differences(void **state) {
    float x[N], dy[N], y[N], dx[N];
    fill_values(x, N, 1);
    fill_values(dy, N, 2);
    for (size_t i = 0; i < N; i++) x[i] *= 6;
    sp_gelu_forward(y, x, N);
    sp_gelu_backward(dx, dy, x, N);
    for (size_t i = 0; i < N; i++) {
        const double z = (double)x[i], slope = (gelu(z + 1e-4) - gelu(z - 1e-4)) / 2e-4;
        assert_close(y[i], gelu(z), 1e-6);
        assert_close(dx[i], (double)dy[i] * slope, 1e-6);
    }
    sp_gelu_backward(dy, dy, x, N);
    for (size_t i = 0; i < N; i++) assert_true(dy[i] == dx[i]);
    sp_gelu_forward(NULL, NULL, 0);
}

static double gelu_tanh(double x) {
    return x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static void both_passes_of_the_tanh_form_match_definition_and_differences(void **state) {
    float x[N], dy[N], y[N], dx[N];
    fill_values(x, N, 1);
    fill_values(dy, N, 2);
    for (size_t i = 0; i < N; i++) x[i] *= 6;
    sp_gelu_tanh_forward(y, x, N);
    sp_gelu_tanh_backward(dx, dy, x, N);
    for (size_t i = 0; i < N; i++) {
        const double z = (double)x[i], slope = (gelu_tanh(z + 1e-4) - gelu_tanh(z - 1e-4)) / 2e-4;
        assert_close(y[i], gelu_tanh(z), 2e-6);
        assert_close(dx[i], (double)dy[i] * slope, 2e-6);
    }
    sp_gelu_tanh_backward(dy, dy, x, N);
    for (size_t i = 0; i < N; i++) assert_true(dy[i] == dx[i]);
    float far[] = {-1000, -60, 60, 1000};
    sp_gelu_tanh_forward(far, far, 4);
    assert_close(far[0], 0, 1e-30);
    assert_close(far[1], 0, 1e-30);
    assert_true(far[2] == 60 && far[3] == 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_match_definition_and_differences),
        cmocka_unit_test(both_passes_of_the_tanh_form_match_definition_and_differences),
    };
    return cmocka_run_group_tests_name("gelu", tests, NULL, NULL);
}
