#include "tests/check.h"
#include "tests/values.h"

#include "run/optimizer.h"
#include "tensor/vector.h"

static const double rounding = 1e-6; /* a few steps of f32 */

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static sp_run_config config_of(sp_lr_schedule schedule, size_t warmup_steps) {
    sp_run_config config = {0};
    config.train.lr = 2e-3;
    config.train.schedule = schedule;
    config.train.warmup_steps = warmup_steps;
    return config;
}

static void warm_up_rises_by_the_same_amount_each_step(void **state) {
    for (int schedule = 0; schedule < 2; schedule++) {
        const sp_run_config config = config_of((sp_lr_schedule)schedule, 8);
        for (uint64_t step = 1; step <= 8; step++)
            assert_close(sp_learning_rate(&config, step, 100) / 2e-3, (double)step / 8, 1e-12);
    }
}

static void cosine_falls_from_the_peak_to_nothing(void **state) {
    const sp_run_config config = config_of(SP_SCHEDULE_COSINE, 4);
    assert_close(sp_learning_rate(&config, 4, 24) / 2e-3, 1, 1e-12);
    assert_close(sp_learning_rate(&config, 9, 24) / 2e-3, (1 + sqrt(0.5)) / 2, 1e-12);
    assert_close(sp_learning_rate(&config, 14, 24) / 2e-3, 0.5, 1e-12);
    assert_close(sp_learning_rate(&config, 19, 24) / 2e-3, (1 - sqrt(0.5)) / 2, 1e-12);
    assert_close(sp_learning_rate(&config, 24, 24) / 2e-3, 0, 1e-12);
    for (uint64_t step = 5; step <= 24; step++)
        assert_true(sp_learning_rate(&config, step, 24) < sp_learning_rate(&config, step - 1, 24));
}

static void constant_stays_at_the_peak(void **state) {
    const sp_run_config config = config_of(SP_SCHEDULE_CONSTANT, 3);
    for (uint64_t step = 3; step <= 50; step++)
        assert_true(sp_learning_rate(&config, step, 50) == 2e-3);
}

/* No warm-up, one step in all, a warm-up as long as the run or longer. */
static void short_runs_have_a_rate_at_each_step(void **state) {
    static const struct {
        size_t warmup_steps;
        uint64_t step, n_steps;
        double share;
    } cases[] = {{0, 1, 2, 0.5}, {0, 2, 2, 0},      {0, 1, 1, 0}, {1, 1, 1, 1},
                 {5, 5, 5, 1},   {9, 3, 3, 1. / 3}, {2, 3, 3, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const sp_run_config config = config_of(SP_SCHEDULE_COSINE, cases[i].warmup_steps);
        assert_close(sp_learning_rate(&config, cases[i].step, cases[i].n_steps) / 2e-3,
                     cases[i].share, 1e-12);
    }
}

/* A matrix, a vector and a frozen matrix between them. */
enum { MATRIX = 15, FROZEN = 6, VECTOR = 7, N = MATRIX + FROZEN + VECTOR };

typedef struct fixture {
    sp_params params;
    sp_optimizer optimizer;
    sp_run_config config;
} fixture;

static int create(void **state) {
    static fixture f;
    f = (fixture){0};
    sp_param *matrix = NULL, *frozen = NULL, *vector = NULL;
    must(sp_params_begin_group(&f.params));
    must(sp_params_declare(&f.params, &matrix, 3, 5, "matrix"));
    must(sp_params_declare(&f.params, &frozen, 2, 3, "frozen"));
    must(sp_params_declare(&f.params, &vector, 0, VECTOR, "vector"));
    frozen->is_frozen = true;
    must(sp_params_allocate(&f.params));
    must(sp_optimizer_create(&f.optimizer, &f.params, 0, 1));
    fill_values(f.params.values, N, 1);
    fill_values(f.params.grads, N, 2);
    *state = &f;
    return 0;
}

static int destroy(void **state) {
    fixture *f = *state;
    sp_optimizer_release(&f->optimizer);
    sp_params_free(&f->params);
    sp_optimizer_release(&f->optimizer); /* both may be released twice */
    sp_params_free(&f->params);
    return 0;
}

static double norm_of(const sp_params *params) {
    return sqrt(sp_vector_sum_squares(params->grads, params->n_values));
}

/* pcc.md §4 in f64: two steps over gradients that differ, clipped to `clip` (0: not at all). */
static void check_steps(fixture *f, double clip, double weight_decay) {
    double weight[N], m[N] = {0}, v[N] = {0};
    for (size_t i = 0; i < N; i++) weight[i] = (double)f->params.values[i];
    f->config.train.grad_clip = clip;
    f->config.train.weight_decay = weight_decay;
    for (uint64_t step = 1; step <= 2; step++) {
        const double lr = step == 1 ? 0.1 : 0.03;
        for (size_t i = 0; i < N; i++) f->params.grads[i] *= step == 1 ? 1.0F : -2.5F;
        const double norm = norm_of(&f->params);
        const double scale = clip > 0 && norm > clip ? clip / norm : 1;
        for (size_t i = 0; i < N; i++) {
            if (i >= MATRIX && i < MATRIX + FROZEN) continue;
            const double g = scale * (double)f->params.grads[i];
            if (i < MATRIX) weight[i] *= 1 - lr * weight_decay;
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            weight[i] -= lr * (m[i] / (1 - pow(0.9, (double)step))) /
                         (sqrt(v[i] / (1 - pow(0.999, (double)step))) + 1e-8);
        }
        sp_optimizer_step(&f->optimizer, &f->params, f->params.grads, &f->config, step, lr, norm);
    }
    const double margin = 2e-5; /* the divisor's 1e-6, squared in v, beside norms from 0.5 */
    for (size_t i = 0; i < N; i++) {
        assert_close(f->params.values[i], weight[i], rounding);
        assert_close(f->optimizer.m[i], m[i], rounding);
        if (v[i] > 0) assert_close((double)f->optimizer.v[i] / v[i], 1, margin);
    }
}

static void gradients_within_the_limit_are_taken_whole(void **state) {
    check_steps(*state, 1e6, 0);
}
static void gradients_beyond_the_limit_are_clipped(void **state) { check_steps(*state, 0.5, 0); }
static void zero_clips_nothing(void **state) { check_steps(*state, 0, 0); }
static void decay_shrinks_matrices_alone(void **state) { check_steps(*state, 0.5, 0.2); }

static void frozen_parameters_are_left_alone(void **state) {
    fixture *f = *state;
    float before[FROZEN];
    memcpy(before, f->params.values + MATRIX, sizeof before);
    f->config.train.weight_decay = 0.5;
    sp_optimizer_step(&f->optimizer, &f->params, f->params.grads, &f->config, 1, 0.1, 1);
    assert_memory_equal(f->params.values + MATRIX, before, sizeof before);
    for (size_t i = MATRIX; i < MATRIX + FROZEN; i++)
        assert_true(f->optimizer.m[i] == 0 && f->optimizer.v[i] == 0);
}

static void without_a_gradient_nothing_moves(void **state) {
    fixture *f = *state;
    float before[N];
    memcpy(before, f->params.values, sizeof before);
    memset(f->params.grads, 0, N * sizeof(float));
    f->config.train.grad_clip = 0.5;
    sp_optimizer_step(&f->optimizer, &f->params, f->params.grads, &f->config, 1, 0.1, 0);
    assert_memory_equal(f->params.values, before, sizeof before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_rises_by_the_same_amount_each_step),
        cmocka_unit_test(cosine_falls_from_the_peak_to_nothing),
        cmocka_unit_test(constant_stays_at_the_peak),
        cmocka_unit_test(short_runs_have_a_rate_at_each_step),
        cmocka_unit_test_setup_teardown(gradients_within_the_limit_are_taken_whole, create,
                                        destroy),
        cmocka_unit_test_setup_teardown(gradients_beyond_the_limit_are_clipped, create, destroy),
        cmocka_unit_test_setup_teardown(zero_clips_nothing, create, destroy),
        cmocka_unit_test_setup_teardown(decay_shrinks_matrices_alone, create, destroy),
        cmocka_unit_test_setup_teardown(frozen_parameters_are_left_alone, create, destroy),
        cmocka_unit_test_setup_teardown(without_a_gradient_nothing_moves, create, destroy),
    };
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
