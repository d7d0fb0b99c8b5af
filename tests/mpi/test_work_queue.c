#include "tests/check.h"

#include "base/clock.h"
#include "mpi/work_queue.h"

#include <time.h>
#include <unistd.h>

/* ranks: 1 2 3 4 */
static sp_world *world;

static int rank(void) { return sp_world_rank(world); }
static uint64_t n_ranks(void) { return (uint64_t)sp_world_size(world); }

enum { MOST_ITEMS = 400 };

typedef struct outcome {
    uint64_t taken[MOST_ITEMS]; /* how often, over all ranks */
    uint64_t n_own;
} outcome;

/* Takes all that there is, each item for some time, and checks that items rise. */
static outcome take_all(uint64_t n_items, useconds_t pause_us) {
    outcome o = {0};
    sp_work_queue *queue = NULL;
    uint64_t item = 0, next = 0;
    assert_int_equal(sp_work_queue_begin(&queue, world, n_items), SP_OK);
    while (sp_work_queue_take(queue, &item)) {
        assert_true(item >= next && item < n_items);
        next = item + 1;
        o.taken[item]++;
        o.n_own++;
        usleep(pause_us);
    }
    assert_false(sp_work_queue_take(queue, &item)); /* asking again is fine */
    sp_work_queue_end(queue);
    sp_world_sum_u64(world, o.taken, MOST_ITEMS);
    return o;
}

static void every_item_is_taken_once(void **state) {
    static const uint64_t sizes[] = {0, 1, 2, 3, 7, MOST_ITEMS};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const outcome o = take_all(sizes[i], 0);
        for (uint64_t k = 0; k < MOST_ITEMS; k++) assert_int_equal(o.taken[k], k < sizes[i]);
    }
}

/* Every rank is the slow one once, rank 0 with the items too. */
static void slow_rank_takes_less(void **state) {
    for (int slow = 0; slow < (int)n_ranks() && n_ranks() > 1; slow++) {
        const outcome o = take_all(60, rank() == slow ? 40000 : 4000);
        for (uint64_t k = 0; k < 60; k++) assert_int_equal(o.taken[k], 1);
        uint64_t n_slow = rank() == slow ? o.n_own : 0;
        sp_world_sum_u64(world, &n_slow, 1);
        assert_true(n_slow > 0 && n_slow < 60 / n_ranks() / 2);
    }
}

/* Rank 0 is busy with its first item until the others have done all the rest. */
static void others_get_work_while_rank_0_computes(void **state) {
    uint64_t item = 0, n_own = 0;
    sp_work_queue *queue = NULL;
    assert_int_equal(sp_work_queue_begin(&queue, world, 50), SP_OK);
    if (rank() != 0) usleep(20000);
    const double begin_s = sp_clock_seconds();
    while (sp_work_queue_take(queue, &item)) {
        n_own++;
        while (rank() == 0 && n_ranks() > 1 && n_own == 1 && sp_clock_seconds() - begin_s < 1) {
            /* computes */
        }
    }
    sp_work_queue_end(queue);
    if (rank() == 0) assert_int_equal(n_own, n_ranks() > 1 ? 1 : 50);
}

/* Of this process, all threads. */
static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void an_open_queue_burns_no_core(void **state) {
    sp_work_queue *queue = NULL;
    uint64_t item = 0;
    assert_int_equal(sp_work_queue_begin(&queue, world, 1), SP_OK);
    const double begin_s = cpu_seconds();
    usleep(500000);
    const double busy_s = cpu_seconds() - begin_s;
    while (sp_work_queue_take(queue, &item)) {
    }
    sp_work_queue_end(queue);
    if (busy_s > 0.1) fail_msg("%.3f s of 0.5 s", busy_s);
}

static void after_a_stop_nobody_gets_more(void **state) {
    for (int stopper = 0; stopper < (int)n_ranks(); stopper++) {
        sp_work_queue *queue = NULL;
        uint64_t item = 0, n_taken = 0;
        assert_int_equal(sp_work_queue_begin(&queue, world, 1000000), SP_OK);
        if (rank() == stopper) {
            assert_true(sp_work_queue_take(queue, &item));
            sp_work_queue_stop(queue);
            assert_false(sp_work_queue_take(queue, &item));
        }
        for (; sp_work_queue_take(queue, &item); n_taken++) usleep(1000);
        sp_work_queue_end(queue);
        assert_true(n_taken < 500000);
    }
}

/* A rank that fails leaves without having asked for anything. */
static void rank_may_leave_early(void **state) {
    sp_work_queue *queue = NULL;
    uint64_t item = 0, n_taken = 0;
    assert_int_equal(sp_work_queue_begin(&queue, world, 20), SP_OK);
    const bool leaves = rank() == (int)n_ranks() - 1 && rank() > 0;
    while (!leaves && sp_work_queue_take(queue, &item)) n_taken++;
    sp_work_queue_end(queue);
    sp_world_sum_u64(world, &n_taken, 1);
    assert_int_equal(n_taken, 20);
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_item_is_taken_once),
                                       cmocka_unit_test(slow_rank_takes_less),
                                       cmocka_unit_test(others_get_work_while_rank_0_computes),
                                       cmocka_unit_test(an_open_queue_burns_no_core),
                                       cmocka_unit_test(after_a_stop_nobody_gets_more),
                                       cmocka_unit_test(rank_may_leave_early)};
    const int n_failed = cmocka_run_group_tests_name("work queue", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
