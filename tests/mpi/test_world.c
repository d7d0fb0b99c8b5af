#include "tests/check.h"

#include "mpi/world.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ranks: 1 2 3 5 */
static sp_world *world;

static int rank(void) { return sp_world_rank(world); }
static size_t n_ranks(void) { return (size_t)sp_world_size(world); }

static void ranks_and_nodes_are_counted(void **state) {
    assert_true(rank() >= 0 && rank() < sp_world_size(world));
    assert_int_equal(sp_world_node_count(world), 1);
}

static void every_rank_knows_every_host(void **state) {
    char mine[256];
    assert_int_equal(gethostname(mine, sizeof mine), 0);
    mine[SP_HOST_SIZE - 1] = '\0';
    for (int r = 0; r < sp_world_size(world); r++)
        assert_string_equal(sp_world_host(world, r), mine);
}

/* Open MPI as Debian builds it allows them. */
static void threads_are_asked_for_and_what_is_provided_is_told(void **state) {
    int provided = 0;
    MPI_Query_thread(&provided);
    assert_int_equal(provided, MPI_THREAD_MULTIPLE);
    assert_true(sp_world_has_threads(world));
}

static void a_world_of_another_size_than_expected_is_refused(void **state) {
    assert_int_equal(sp_world_expect(world, 0), SP_OK);
    assert_int_equal(sp_world_expect(world, n_ranks()), SP_OK);
    assert_int_equal(sp_world_expect(world, n_ranks() + 6), SP_USAGE);
    char both[64];
    snprintf(both, sizeof both,
             "%zu ranks are expected, and MPI made a world of %zu:", n_ranks() + 6, n_ranks());
    assert_non_null(strstr(sp_message(), both));
}

/* Small integers are exact in each type, in whatever order they are added. */
static void sums_are_over_all_ranks(void **state) {
    enum { MANY = 100003 };
    static double doubles[MANY];
    static uint64_t counts[MANY];
    for (size_t i = 0; i < MANY; i++) {
        counts[i] = i * 10 + (uint64_t)rank();
        doubles[i] = (double)counts[i] / 1024;
    }
    sp_world_sum_u64(world, counts, MANY);
    sp_world_sum_double(world, doubles, MANY);
    const size_t n = n_ranks(), ranks_sum = n * (n - 1) / 2;
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(counts[i], i * 10 * n + ranks_sum);
        assert_true(doubles[i] == (double)(i * 10 * n + ranks_sum) / 1024);
    }
}

static void sums_of_nothing_and_of_large_counts_are_fine(void **state) {
    uint64_t count = UINT64_MAX / 8;
    sp_world_sum_u64(world, NULL, 0);
    sp_world_sum_u64(world, &count, 1);
    assert_int_equal(count, UINT64_MAX / 8 * n_ranks());
}

/* What rounds differently by order is the same on every rank and at every time. */
static void sums_are_the_same_bits_everywhere(void **state) {
    enum { N = 1000 };
    double first[N], again[N], of_root[N];
    for (size_t i = 0; i < N; i++)
        first[i] = again[i] = 1.0 / (double)(1 + i * 7 + (size_t)rank() * 13);
    sp_world_sum_double(world, first, N);
    sp_world_sum_double(world, again, N);
    memcpy(of_root, first, sizeof first);
    sp_world_broadcast(world, of_root, sizeof of_root, 0);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_equal(first, of_root, sizeof first);
}

static void maxima_are_over_all_ranks(void **state) {
    double values[] = {(double)rank(), -(double)rank(), -5.5};
    sp_world_max_double(world, values, 3);
    assert_true(values[0] == (double)(n_ranks() - 1));
    assert_true(values[1] == 0 && values[2] == -5.5);
}

static void any_rank_may_broadcast(void **state) {
    static char data[100001];
    for (int root = 0; root < sp_world_size(world); root++) {
        memset(data, rank() == root ? root + 1 : 0, sizeof data);
        data[sizeof data - 1] = (char)rank(); /* beyond what is sent */
        sp_world_broadcast(world, data, sizeof data - 1, root);
        for (size_t i = 0; i < sizeof data - 1; i++) assert_int_equal(data[i], root + 1);
        assert_int_equal(data[sizeof data - 1], rank());
        sp_world_broadcast(world, NULL, 0, root);
    }
}

/* Rank r brings sizes[r] bytes of its own number. */
static void check_gather(const size_t *sizes) {
    const size_t mine = sizes[rank()];
    char *data = mine > 0 ? malloc(mine) : NULL, *all = NULL;
    size_t *gathered = NULL;
    if (data != NULL) memset(data, 'a' + rank(), mine);
    if (sp_world_gather(world, data, mine, &all, &gathered) != SP_OK) fail_msg("%s", sp_message());
    free(data);
    if (rank() != 0) {
        assert_null(all);
        assert_null(gathered);
        return;
    }
    const char *at = all;
    for (size_t r = 0; r < n_ranks(); r++) {
        assert_int_equal(gathered[r], sizes[r]);
        for (size_t i = 0; i < sizes[r]; i++) assert_int_equal(*at++, 'a' + (int)r);
    }
    free(all);
    free(gathered);
}

static void gathered_bytes_come_in_the_order_of_ranks(void **state) {
    static const size_t sizes[][5] = {{1, 1, 1, 1, 1}, {7, 100000, 1, 3, 64}, {0, 5, 0, 9, 0},
                                      {4, 0, 0, 0, 2}, {0, 0, 0, 0, 0},       {0, 0, 3, 0, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) check_gather(sizes[i]);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* one clock for all ranks of a node */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void nobody_leaves_a_barrier_before_all_have_come(void **state) {
    for (int late = 0; late < sp_world_size(world); late++) {
        if (rank() == late) nanosleep(&(struct timespec){0, 50000000}, NULL);
        double last_in_s = now_s();
        sp_world_barrier(world);
        const double out_s = now_s();
        sp_world_max_double(world, &last_in_s, 1);
        assert_true(out_s >= last_in_s);
    }
}

static void waiting_burns_no_core(void **state) {
    struct timespec used;
    sp_world_barrier(world);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    const double before_s = (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
    if (rank() == 0) nanosleep(&(struct timespec){0, 500000000}, NULL);
    sp_world_barrier(world);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    const double most_s = 0.25; /* half of the wait; spinning would take all of it */
    assert_true((double)used.tv_sec + 1e-9 * (double)used.tv_nsec - before_s < most_s);
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_and_nodes_are_counted),
        cmocka_unit_test(every_rank_knows_every_host),
        cmocka_unit_test(threads_are_asked_for_and_what_is_provided_is_told),
        cmocka_unit_test(a_world_of_another_size_than_expected_is_refused),
        cmocka_unit_test(sums_are_over_all_ranks),
        cmocka_unit_test(sums_of_nothing_and_of_large_counts_are_fine),
        cmocka_unit_test(sums_are_the_same_bits_everywhere),
        cmocka_unit_test(maxima_are_over_all_ranks),
        cmocka_unit_test(any_rank_may_broadcast),
        cmocka_unit_test(gathered_bytes_come_in_the_order_of_ranks),
        cmocka_unit_test(nobody_leaves_a_barrier_before_all_have_come),
        cmocka_unit_test(waiting_burns_no_core),
    };
    const int n_failed = cmocka_run_group_tests_name("world", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
