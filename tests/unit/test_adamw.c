#include "tests/check.h"

#include "tensor/adamw.h"
#include "tensor/vector.h"
#include "tests/unit/kernel_fixtures.h"
#include "tests/values.h"

enum { N = 7, STEPS = 10 };

/* As tools/make_kernel_fixtures.py makes them. */
static void make_gradient(float *grad, size_t step) {
    for (size_t i = 0; i < N; i++) grad[i] = ((float)((step * 7 + i * 5) % 11) - 5) / 8;
}

/* torch.nn.utils.clip_grad_norm_(…, 0.5). */
static float clip(const float *grad, double *norm) {
    *norm = sqrt(sp_vector_sum_squares(grad, N));
    const double factor = 0.5 / (*norm + 1e-6);
    return factor < 1 ? (float)factor : 1;
}

static void ten_clipped_steps_are_those_of_torch(void **state) {
    float weight[N], m[N] = {0}, v[N] = {0}, grad[N];
    for (size_t i = 0; i < N; i++) weight[i] = ((float)i - 3) / 4;
    sp_adamw adamw = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
    const double rounding = 2e-7; /* one step of f32 below 1 */
    for (size_t step = 1; step <= STEPS; step++) {
        double norm = 0;
        make_gradient(grad, step);
        adamw.grad_scale = clip(grad, &norm);
        assert_close(norm, adamw_norms[step - 1], rounding);
        sp_adamw_step(&adamw, step, weight, m, v, grad, N);
    }
    for (size_t i = 0; i < N; i++) {
        assert_close(weight[i], adamw_weight[i], rounding);
        assert_close(m[i] / (float)adamw_m[i], 1, 1e-6); /* ten roundings */
        assert_close(v[i] / (float)adamw_v[i], 1, 1e-6);
    }
}

static void pieces_and_tails_match_f64(void **state) {
    enum { LONG = 9001 };
    static float weight[LONG], m[LONG], v[LONG], grad[LONG], w0[LONG], m0[LONG], v0[LONG];
    fill_values(weight, LONG, 1);
    fill_values(m, LONG, 2);
    fill_values(v, LONG, 3);
    fill_values(grad, LONG, 4);
    for (size_t i = 0; i < LONG; i++) v[i] = fabsf(v[i]);
    memcpy(w0, weight, sizeof w0), memcpy(m0, m, sizeof m0), memcpy(v0, v, sizeof v0);
    const sp_adamw adamw = {
        .lr = 1e-2, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-3, .grad_scale = 0.5F};
    sp_adamw_step(&adamw, 3, weight, m, v, grad, LONG - 1);
    for (size_t i = 0; i < LONG - 1; i++) {
        const double g = 0.5 * (double)grad[i];
        const double m1 = 0.8 * (double)m0[i] + 0.2 * g, v1 = 0.99 * (double)v0[i] + 0.01 * g * g;
        const double root = sqrt(v1 / (1 - pow(0.99, 3))) + 1e-3;
        assert_close(weight[i], (double)w0[i] - 1e-2 * m1 / (1 - pow(0.8, 3)) / root, 1e-6);
        assert_close(m[i], m1, 1e-6);
        assert_close(v[i], v1, 1e-6);
    }
    assert_true(weight[LONG - 1] == w0[LONG - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_clipped_steps_are_those_of_torch),
        cmocka_unit_test(pieces_and_tails_match_f64),
    };
    return cmocka_run_group_tests_name("adamw", tests, NULL, NULL);
}
