/* Schedules of all ranks run against each other, as a pipeline would: no rank waits for ever, every
   micro-batch passes every stage once, and no more are in flight than allowed. */
#include "tests/check.h"

#include "chain/schedule.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_RANKS = 6, MOST_STAGES = 12, MOST_MICRO = 13 };

static double forward_s[MOST_STAGES], backward_s[MOST_STAGES];

static sp_pipeline_shape shape_of(size_t n_ranks, size_t per_rank, int costs) {
    for (size_t s = 0; s < MOST_STAGES; s++) {
        forward_s[s] = costs == 0 ? 1 : 1 + (double)(s * 7 % 5);
        backward_s[s] = costs == 0 ? 2 : 1 + (double)(s * 3 % 4);
    }
    return (sp_pipeline_shape){.n_stages = n_ranks * per_rank,
                               .n_ranks = n_ranks,
                               .forward_s = forward_s,
                               .backward_s = backward_s};
}

/* Runs the ranks' operations as soon as what they need is there, whatever the seconds. */
static void run_all(sp_schedule *schedules, const sp_pipeline_shape *shape, size_t n_micro,
                    bool has_backward) {
    bool done[2][MOST_STAGES][MOST_MICRO];
    size_t at[MOST_RANKS] = {0}, in_flight[MOST_STAGES] = {0}, n_done = 0, n_all = 0;
    memset(done, 0, sizeof done);
    for (size_t r = 0; r < shape->n_ranks; r++) n_all += schedules[r].n_operations;
    assert_int_equal(n_all, shape->n_stages * n_micro * (has_backward ? 2 : 1));
    while (n_done < n_all) {
        const size_t before = n_done;
        for (size_t r = 0; r < shape->n_ranks; r++)
            while (at[r] < schedules[r].n_operations) {
                const sp_operation *o = &schedules[r].operations[at[r]];
                const size_t s = o->stage, m = o->micro_batch;
                assert_int_equal(s % shape->n_ranks, r);
                const bool is_ready = o->is_backward ? done[0][s][m] && (s + 1 == shape->n_stages ||
                                                                         done[1][s + 1][m])
                                                     : s == 0 || done[0][s - 1][m];
                if (!is_ready) break;
                assert_false(done[o->is_backward][s][m]);
                done[o->is_backward][s][m] = true;
                if (o->is_backward)
                    in_flight[s]--;
                else if (has_backward)
                    assert_true(++in_flight[s] <=
                                sp_stage_in_flight(shape->n_stages, shape->n_ranks, s));
                at[r]++;
                n_done++;
            }
        if (n_done == before) fail_msg("deadlock after %zu of %zu operations", n_done, n_all);
    }
}

static void every_schedule_runs_through(void **state) {
    for (size_t n_ranks = 1; n_ranks <= MOST_RANKS; n_ranks++)
        for (size_t per_rank = 1; per_rank <= 2; per_rank++)
            for (size_t n_micro = 0; n_micro <= MOST_MICRO; n_micro++)
                for (int costs = 0; costs < 2; costs++)
                    for (int has_backward = 0; has_backward < 2; has_backward++) {
                        const sp_pipeline_shape shape = shape_of(n_ranks, per_rank, costs);
                        sp_schedule schedules[MOST_RANKS];
                        memset(schedules, 0, sizeof schedules);
                        for (size_t r = 0; r < n_ranks; r++)
                            assert_int_equal(
                                sp_schedule_make(&schedules[r], &shape, r, n_micro, has_backward),
                                SP_OK);
                        run_all(schedules, &shape, n_micro, has_backward);
                        for (size_t r = 0; r < n_ranks; r++) sp_schedule_free(&schedules[r]);
                    }
}

/* (n_ranks - 1) of (n_micro + n_ranks - 1) turns are idle in 1F1B over equal stages. */
static void the_bubble_is_the_known_one(void **state) {
    for (size_t n_ranks = 1; n_ranks <= MOST_RANKS; n_ranks++)
        for (size_t n_micro = n_ranks; n_micro <= MOST_MICRO; n_micro++) {
            const sp_pipeline_shape shape = shape_of(n_ranks, 1, 0);
            sp_schedule schedule = {0};
            assert_int_equal(sp_schedule_make(&schedule, &shape, 0, n_micro, true), SP_OK);
            assert_close(schedule.seconds, 3.0 * (double)(n_micro + n_ranks - 1), 1e-9);
            sp_schedule_free(&schedule);
        }
}

/* Two stages a rank, each half as long, leave half the bubble (§2.2 there), or less than one stage
   a rank would. */
static void folding_makes_the_bubble_smaller(void **state) {
    for (size_t n_ranks = 2; n_ranks <= MOST_RANKS; n_ranks++) {
        sp_schedule one = {0}, two = {0};
        sp_pipeline_shape shape = shape_of(n_ranks, 1, 0);
        assert_int_equal(sp_schedule_make(&one, &shape, 0, 12, true), SP_OK);
        shape = shape_of(n_ranks, 2, 0);
        for (size_t s = 0; s < MOST_STAGES; s++) {
            forward_s[s] /= 2;
            backward_s[s] /= 2;
        }
        assert_int_equal(sp_schedule_make(&two, &shape, 0, 12, true), SP_OK);
        assert_true(two.seconds < one.seconds);
        sp_schedule_free(&two);
        sp_schedule_free(&one);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schedule_runs_through),
        cmocka_unit_test(the_bubble_is_the_known_one),
        cmocka_unit_test(folding_makes_the_bubble_smaller),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
