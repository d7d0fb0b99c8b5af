/* Cuts against all that there are, by exhaustive search. */
#include "tests/check.h"
#include "tests/values.h"

#include "chain/cut.h"

#include <math.h>
#include <string.h>

enum { MOST = 9 };

/* The least cost of the dearest of n_stages ranges of costs [n]. */
static double best_cut(const double *costs, size_t n, size_t n_stages) {
    double best = INFINITY, sum = 0;
    if (n_stages == 1) {
        for (size_t i = 0; i < n; i++) sum += costs[i];
        return sum;
    }
    for (size_t first = 1; first + n_stages - 1 <= n; first++) {
        sum += costs[first - 1];
        best = fmin(best, fmax(sum, best_cut(costs + first, n - first, n_stages - 1)));
    }
    return best;
}

static double dearest(const sp_stage *stages, size_t n_stages, const double *costs) {
    double most = 0;
    for (size_t s = 0; s < n_stages; s++) most = fmax(most, sp_stage_cost(&stages[s], costs));
    return most;
}

static void check_stages(const sp_stage *stages, size_t n_stages, size_t begin, size_t end) {
    for (size_t s = 0; s < n_stages; s++) {
        assert_int_equal(stages[s].begin, s > 0 ? stages[s - 1].end : begin);
        assert_true(stages[s].end > stages[s].begin);
    }
    assert_int_equal(stages[n_stages - 1].end, end);
}

static void no_cut_is_better(void **state) {
    float values[MOST];
    double costs[MOST];
    for (uint32_t seed = 1; seed <= 60; seed++)
        for (size_t n = 1; n <= MOST; n++) {
            fill_values(values, n, seed * 100 + (uint32_t)n);
            for (size_t i = 0; i < n; i++) /* some are nothing, as an embedding is */
                costs[i] = seed % 3 == 0 && i % 4 == 0 ? 0 : fabs((double)values[i]);
            for (size_t n_stages = 1; n_stages <= n; n_stages++) {
                sp_stage stages[MOST];
                assert_int_equal(sp_cut(stages, n_stages, costs, n), SP_OK);
                check_stages(stages, n_stages, 0, n);
                assert_close(dearest(stages, n_stages, costs), best_cut(costs, n, n_stages), 1e-9);
            }
        }
}

static void halves_alike_are_folded_at_the_same_places(void **state) {
    enum { LAYERS = 8, FIRST = LAYERS + 3, SECOND = LAYERS + 2, N = FIRST + SECOND };
    double costs[N];
    for (size_t i = 0; i < N; i++) costs[i] = i < FIRST ? 1 : 2;
    for (size_t n_ranks = 1; n_ranks <= 5; n_ranks++) {
        sp_stage stages[10];
        assert_int_equal(sp_cut_folded(stages, n_ranks, costs, N, FIRST), SP_OK);
        check_stages(stages, n_ranks, 0, FIRST);
        check_stages(stages + n_ranks, n_ranks, FIRST, N);
        for (size_t k = 0; k + 1 < n_ranks; k++)
            assert_int_equal(stages[k].end + FIRST, stages[n_ranks + k].end);
    }
}

static void halves_that_differ_are_each_cut_well(void **state) {
    enum { FIRST = 9, N = 14 };
    double costs[N];
    for (size_t i = 0; i < N; i++) costs[i] = (double)(1 + i % 3);
    sp_stage stages[6];
    assert_int_equal(sp_cut_folded(stages, 3, costs, N, FIRST), SP_OK);
    check_stages(stages, 3, 0, FIRST);
    check_stages(stages + 3, 3, FIRST, N);
    assert_close(dearest(stages, 3, costs), best_cut(costs, FIRST, 3), 1e-9);
    assert_close(dearest(stages + 3, 3, costs), best_cut(costs + FIRST, N - FIRST, 3), 1e-9);
}

static void more_stages_than_blocks_are_refused(void **state) {
    const double costs[] = {1, 2, 3};
    sp_stage stages[8];
    assert_int_equal(sp_cut(stages, 4, costs, 3), SP_USAGE);
    assert_non_null(strstr(sp_message(), "parallel.pipeline: 4"));
    assert_int_equal(sp_cut_folded(stages, 2, costs, 3, 2), SP_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_cut_is_better),
        cmocka_unit_test(halves_alike_are_folded_at_the_same_places),
        cmocka_unit_test(halves_that_differ_are_each_cut_well),
        cmocka_unit_test(more_stages_than_blocks_are_refused),
    };
    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
