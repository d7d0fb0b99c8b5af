#include "tests/check.h"

#include "mpi/watchdog.h"
#include "mpi/world_comm.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* ranks: 1 2 3 5 */
static sp_world *world;
static const double limit_s = 5;

/* Between the watchdog and MPI: what it sends and receives. */
static _Atomic uint64_t n_sent, n_received;

int MPI_Isend(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request) {
    n_sent++;
    return PMPI_Isend(data, n, type, to, tag, comm, request);
}

int MPI_Irecv(void *data, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm,
              MPI_Request *request) {
    n_received++;
    return PMPI_Irecv(data, n, type, from, tag, comm, request);
}

static void pause_s(double seconds) {
    const time_t whole = (time_t)seconds;
    nanosleep(&(struct timespec){whole, (long)((seconds - (double)whole) * 1e9)}, NULL);
}

static double cpu_s(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static sp_watchdog *begin(double limit) {
    sp_watchdog *watchdog = NULL;
    if (sp_watchdog_begin(&watchdog, world, limit) != SP_OK) fail_msg("%s", sp_message());
    return watchdog;
}

static void watchdogs_come_and_go_and_leave_no_message(void **state) {
    atomic_store(&n_sent, 0);
    atomic_store(&n_received, 0);
    for (unsigned i = 0; i < 40; i++) {
        sp_watchdog *watchdog = begin(limit_s);
        assert_non_null(watchdog);
        sp_watchdog_at(watchdog, SP_PHASE_FORWARD, i, 1, 2);
        /* Some come late to the end, some too late for the next beat. */
        const unsigned late = (unsigned)sp_world_rank(world) * 7 + i * 5;
        pause_s(i % 8 == 0 ? 0.3 * (late % 3) : 0.001 * (late % 11));
        sp_watchdog_end(watchdog, SP_OK);
    }
    uint64_t sent = atomic_load(&n_sent), received = atomic_load(&n_received);
    sp_world_sum_u64(world, &sent, 1);
    sp_world_sum_u64(world, &received, 1);
    const uint64_t n = (uint64_t)sp_world_size(world);
    const uint64_t n_pairs = n == 1 ? 0 : 2 * (n - 2) + 1; /* a watcher and another rank */
    assert_int_equal(sent, received);
    assert_true(sent >= 2 * n_pairs * 40);
}

static void slow_ranks_are_no_hang(void **state) {
    sp_watchdog *watchdog = begin(limit_s);
    for (int slow = 0; slow < sp_world_size(world); slow += sp_world_size(world) / 2 + 1) {
        sp_watchdog_at(watchdog, SP_PHASE_FORWARD, (uint64_t)slow, 0, 0);
        if (sp_world_rank(world) == slow) pause_s(0.36 * limit_s);
        sp_watchdog_at(watchdog, SP_PHASE_AGREE, (uint64_t)slow, SP_NOWHERE, SP_NOWHERE);
        sp_world_barrier(world);
    }
    sp_watchdog_end(watchdog, SP_OK);
}

static void watching_burns_no_core(void **state) {
    sp_watchdog *watchdog = begin(limit_s);
    sp_world_barrier(world);
    const double before_s = cpu_s();
    pause_s(1.5);
    const double most_s = 0.1; /* spinning would take 1.5 s */
    assert_true(cpu_s() - before_s < most_s);
    sp_watchdog_end(watchdog, SP_OK);
}

static void nobody_watches_without_a_limit_or_without_threads(void **state) {
    assert_null(begin(0));
    world->has_threads = false;
    assert_null(begin(limit_s));
    world->has_threads = true;
    sp_watchdog_at(NULL, SP_PHASE_DATA, 1, 2, 3);
    sp_watchdog_end(NULL, SP_OK);
}

static void watchdog_ends_after_an_agreed_failure_too(void **state) {
    sp_watchdog *watchdog = begin(limit_s);
    const bool had_failure = world->has_agreed_failure;
    world->has_agreed_failure = true;
    sp_watchdog_end(watchdog, SP_IO);
    world->has_agreed_failure = had_failure;
    sp_world_barrier(world);
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watchdogs_come_and_go_and_leave_no_message),
        cmocka_unit_test(slow_ranks_are_no_hang),
        cmocka_unit_test(watching_burns_no_core),
        cmocka_unit_test(nobody_watches_without_a_limit_or_without_threads),
        cmocka_unit_test(watchdog_ends_after_an_agreed_failure_too),
    };
    const int n_failed = cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
