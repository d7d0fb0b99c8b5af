#include "tests/check.h"

#include "tensor/vector.h"
#include "tests/values.h"

#include <omp.h>

enum { MAX = 70001 };
static const size_t lengths[] = {0, 1, 7, 8, 9, 4095, 4097, MAX};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static float x[MAX], y[MAX];

static void sums_and_scalings_match_f64(void **state) {
    for (size_t l = 0; l < N_LENGTHS; l++) {
        const size_t n = lengths[l];
        fill_values(x, MAX, 1);
        fill_values(y, MAX, 2);
        double squares = 0;
        for (size_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
        assert_close(sp_vector_sum_squares(x, n), squares, 1e-11); /* 70,001 roundings of f64 */

        float expected[2] = {0};
        if (n > 0) expected[0] = y[n - 1] + x[n - 1], expected[1] = x[n - 1] * 3;
        const float beyond = n < MAX ? x[n] : 0;
        sp_vector_add(y, x, n);
        sp_vector_scale(x, 3, n);
        if (n > 0) assert_true(y[n - 1] == expected[0] && x[n - 1] == expected[1]);
        if (n < MAX) assert_true(x[n] == beyond);
    }
}

static void sum_does_not_depend_on_threads(void **state) {
    fill_values(x, MAX, 1);
    const int n_threads = omp_get_max_threads();
    const double sum = sp_vector_sum_squares(x, MAX);
    for (int threads = 1; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        assert_true(sp_vector_sum_squares(x, MAX) == sum);
    }
    omp_set_num_threads(n_threads);
}

static void sum_shows_what_is_not_finite(void **state) {
    fill_values(x, MAX, 1);
    x[MAX / 2] = NAN;
    assert_true(isnan(sp_vector_sum_squares(x, MAX)));
    x[MAX / 2] = -INFINITY;
    assert_true(isinf(sp_vector_sum_squares(x, MAX)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_scalings_match_f64),
        cmocka_unit_test(sum_does_not_depend_on_threads),
        cmocka_unit_test(sum_shows_what_is_not_finite),
    };
    return cmocka_run_group_tests_name("vector", tests, NULL, NULL);
}
