#include "tests/check.h"

#include "mpi/step_timing.h"

/* ranks: 1 2 3 4 */
static sp_world *world;
static const double rounding = 1e-12; /* a few steps of f64 */

static void slowest_rank_balance_and_bubble_follow_their_definitions(void **state) {
    const int n = sp_world_size(world);
    for (int slow = 0; slow < n; slow++) {
        const bool is_slow = sp_world_rank(world) == slow;
        const sp_step_timing timing = sp_step_timing_reduce(world, is_slow ? 3 : 2, 4);
        const double mean = (2.0 * (n - 1) + 3) / n;
        assert_int_equal(timing.slowest_rank, slow);
        assert_string_equal(timing.slowest_host, sp_world_host(world, slow));
        assert_close(timing.slowest_seconds, 3, rounding);
        assert_close(timing.mean_seconds, mean, rounding);
        assert_close(timing.balance, mean / 3, rounding);
        assert_close(timing.bubble, 1 - mean / 4, rounding);
    }
}

static void lowest_of_equally_slow_ranks_is_named(void **state) {
    const sp_step_timing timing = sp_step_timing_reduce(world, 1, 1);
    assert_int_equal(timing.slowest_rank, 0);
    assert_close(timing.balance, 1, rounding);
    assert_close(timing.bubble, 0, rounding);
}

static void idle_ranks_and_steps_of_no_time_are_fine(void **state) {
    const sp_step_timing idle = sp_step_timing_reduce(world, 0, 2);
    assert_close(idle.balance, 1, rounding);
    assert_close(idle.bubble, 1, rounding);
    const sp_step_timing none = sp_step_timing_reduce(world, 0, 0);
    assert_close(none.bubble, 0, rounding);
}

static void clocks_that_disagree_give_no_negative_bubble(void **state) {
    assert_close(sp_step_timing_reduce(world, 1.001, 1).bubble, 0, rounding);
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slowest_rank_balance_and_bubble_follow_their_definitions),
        cmocka_unit_test(lowest_of_equally_slow_ranks_is_named),
        cmocka_unit_test(idle_ranks_and_steps_of_no_time_are_fine),
        cmocka_unit_test(clocks_that_disagree_give_no_negative_bubble),
    };
    const int n_failed = cmocka_run_group_tests_name("step_timing", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
