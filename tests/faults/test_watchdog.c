/* Ranks that hang in every way, under a real mpirun: this program starts itself as a job of several
   ranks, each of which then does what `acts` say. */
#include "tests/check.h"

#include "mpi/agree.h"
#include "mpi/watchdog.h"

#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 6, TEXT_SIZE = 16384 };
static const char *program;

/* ---- a rank of the job ---- */

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* one clock for all processes */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void pause_s(double seconds) {
    const time_t whole = (time_t)seconds;
    nanosleep(&(struct timespec){whole, (long)((seconds - (double)whole) * 1e9)}, NULL);
}

/* As a stopped process does, or one on a machine that is gone. */
static void stop(void) { kill(getpid(), SIGSTOP); }

static void stop_and_go_on(double after_s) {
    const pid_t rank = getpid();
    if (fork() == 0) {
        pause_s(after_s);
        kill(rank, SIGCONT);
        _exit(0);
    }
    stop();
}

static void compute_for_ever(void) {
    for (volatile unsigned i = 0;; i++) {
    }
}

/* Each waits for a message that nobody sends, inside MPI. */
static void wait_for_nobody(void) {
    int never = 0;
    MPI_Recv(&never, 1, MPI_INT, MPI_ANY_SOURCE, 77, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* What one rank does in step 3; the others wait for it at the step's end. */
static void act(const char *what, sp_watchdog *watchdog) {
    if (strcmp(what, "stop late") == 0) pause_s(0.25 * LIMIT_S); /* when it was heard here */
    fprintf(stderr, "acts at %.3f\n", now_s());
    if (strncmp(what, "stop", 4) == 0) stop();
    if (strcmp(what, "pause") == 0) stop_and_go_on(0.35 * LIMIT_S);
    if (strcmp(what, "suspend") == 0) stop_and_go_on(1.2 * LIMIT_S);
    if (strcmp(what, "slow") == 0) pause_s(0.4 * LIMIT_S);
    if (strcmp(what, "loop") == 0) compute_for_ever();
    if (strcmp(what, "wait") == 0) {
        sp_watchdog_at(watchdog, SP_PHASE_NEIGHBOUR, 3, 1, 5);
        wait_for_nobody();
    }
}

/* acts[r] is a letter: what rank r does. */
static int run_rank(const char *acts) {
    static const struct {
        char letter;
        const char *what;
    } letters[] = {{'s', "stop"}, {'t', "stop late"}, {'p', "pause"}, {'u', "suspend"},
                   {'c', "slow"}, {'l', "loop"},      {'w', "wait"}};
    sp_world *world = NULL;
    sp_watchdog *watchdog = NULL;
    if (sp_world_begin(&world) != SP_OK) return 99;
    const int rank = sp_world_rank(world);
    sp_status status = sp_watchdog_begin(&watchdog, world, LIMIT_S);
    for (uint64_t step = 1; step <= 5 && status == SP_OK; step++) {
        sp_watchdog_at(watchdog, SP_PHASE_FORWARD, step, 1, 4);
        if (step == 3) {
            for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
                if (acts[rank] == letters[i].letter) act(letters[i].what, watchdog);
            if (acts[rank] == 'f') {
                fprintf(stderr, "acts at %.3f\n", now_s());
                status = sp_fail(SP_IO, "on its own");
            }
        }
        if (status != SP_OK) break;
        sp_watchdog_at(watchdog, SP_PHASE_AGREE, step, SP_NOWHERE, SP_NOWHERE);
        if (acts[sp_world_size(world)] == 'M') /* wait inside MPI, not between its calls */
            MPI_Barrier(MPI_COMM_WORLD);
        else
            sp_world_barrier(world);
    }
    sp_watchdog_end(watchdog, status);
    return (int)sp_world_end(world, status);
}

/* ---- the test ---- */

typedef struct job {
    const char *acts;
    pid_t process; /* which waits for it; 0: not begun */
    int exit_code; /* of mpirun */
    double end_s;
    char text[TEXT_SIZE]; /* what the ranks wrote to standard error */
} job;

/* All jobs in the order in which the tests want them: they spend their time asleep, so that some run
   side by side, ahead of the test that looks at them. */
static const char *const all_acts[] = {".s.", "..t",  ".s.M", "s.",  "s...M", "s.s",
                                       ".l.", "l.M",  "ww",   "l",   "...",   "c..",
                                       "p..", ".p.M", "..p",  "uuu", ".f."};
enum { N_JOBS = sizeof all_acts / sizeof all_acts[0], SIDE_BY_SIDE = 5 };
static job *jobs; /* [N_JOBS], shared with the processes that wait for them */

/* In a process of its own; false if it cannot begin. */
static bool run_job(job *done) {
    const char *acts = done->acts;
    char n_ranks[16];
    const size_t n = strspn(acts, ".stpuclwf");
    snprintf(n_ranks, sizeof n_ranks, "%zu", n);
    int ends[2];
    if (pipe(ends) != 0) return false;
    const pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execlp("timeout", "timeout", "-k", "1", "60", "mpirun", "--oversubscribe", "-n", n_ranks,
               program, acts, NULL);
        _exit(99);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], done->text + used, TEXT_SIZE - 1 - used)) > 0) used += (size_t)got;
    close(ends[0]);
    done->text[used] = '\0';
    int status = 0;
    if (waitpid(child, &status, 0) != child) return false;
    done->end_s = now_s();
    done->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return true;
}

static void begin_job(size_t i) {
    if (i >= N_JOBS || jobs[i].process != 0) return;
    jobs[i].acts = all_acts[i];
    const pid_t process = fork();
    assert_true(process >= 0);
    if (process == 0) _exit(run_job(&jobs[i]) ? 0 : 1);
    jobs[i].process = process;
}

static const job *end_job(const char *acts) {
    size_t i = 0;
    while (i < N_JOBS && strcmp(all_acts[i], acts) != 0) i++;
    assert_true(i < N_JOBS);
    for (size_t ahead = i; ahead < i + SIDE_BY_SIDE; ahead++) begin_job(ahead);
    int status = 0;
    assert_int_equal(waitpid(jobs[i].process, &status, 0), jobs[i].process);
    assert_int_equal(status, 0);
    return &jobs[i];
}

static void assert_says(const job *done, const char *part) {
    if (strstr(done->text, part) == NULL) fail_msg("no '%s' in:\n%s", part, done->text);
}

/* From the first rank's act to the end of mpirun. */
static double seconds_of(const job *done) {
    const char *at = strstr(done->text, "acts at ");
    if (at == NULL) fail_msg("nobody acts:\n%s", done->text);
    return done->end_s - strtod(at + strlen("acts at "), NULL);
}

/* The job ends within the limit, and the message names the rank that is late. */
static void assert_found(const char *acts, const char *late, const char *where) {
    const job *done = end_job(acts);
    if (done->exit_code != SP_FAILURE)
        fail_msg("'%s' ended with %d:\n%s", acts, done->exit_code, done->text);
    assert_says(done, late);
    assert_says(done, where);
    const double took_s = seconds_of(done);
    if (took_s > LIMIT_S) fail_msg("'%s' took %.1f s:\n%s", acts, took_s, done->text);
    print_message("%-6s %.1f s\n", acts, took_s);
}

static void assert_no_alarm(const char *acts) {
    const job *done = end_job(acts);
    if (done->exit_code != 0 || strstr(done->text, "watchdog") != NULL)
        fail_msg("'%s' ended with %d:\n%s", acts, done->exit_code, done->text);
}

static void stopped_rank_is_named(void **state) {
    assert_found(".s.", ": watchdog: rank 1 on ", "waiting for all ranks, step 3; moved ");
    assert_found("..t", ": watchdog: rank 2 on ",
                 "forward, step 3, micro-batch 1, block 4, when last heard");
    assert_found(".s.M", ": watchdog: rank 1 on ",
                 "(it is not heard: stopped, or its machine is gone)");
}

static void stopped_first_rank_is_found_by_the_others(void **state) {
    assert_found("s.", ": watchdog: rank 0 on ", "watchdog of rank 1: a rank is not heard");
    assert_found("s...M", ": watchdog: rank 0 on ", "watchdog of rank 3: a rank is not heard");
}

static void both_watchers_stopped_are_found_by_a_third(void **state) {
    assert_found("s.s", "is late (it is not heard", "watchdog of rank 1: a rank is not heard");
}

static void endless_loop_is_told_from_waiting_for_it(void **state) {
    assert_found(".l.", ": watchdog: rank 1 on ", "(it does not wait for others)");
    assert_found("l.M", ": watchdog: rank 0 on ", "rank 1 (");
}

static void ranks_that_wait_for_each_other_are_found(void **state) {
    assert_found("ww", "all wait for each other",
                 "waiting for a neighbour, step 3, micro-batch 1, block 5");
}

static void single_rank_that_hangs_is_found(void **state) {
    assert_found("l", ": watchdog: rank 0 on ", "no rank moves");
}

static void what_is_slow_or_paused_for_less_than_the_limit_goes_on(void **state) {
    assert_no_alarm("...");
    assert_no_alarm("c..");
    assert_no_alarm("p..");
    assert_no_alarm(".p.M");
    assert_no_alarm("..p");
}

/* As on a machine that was suspended: no rank could be heard for longer than the limit. */
static void job_that_was_suspended_as_a_whole_goes_on(void **state) { assert_no_alarm("uuu"); }

static void rank_that_fails_alone_is_not_waited_for(void **state) {
    const job *done = end_job(".f.");
    assert_int_equal(done->exit_code, SP_IO);
    assert_says(done, "rank 1: on its own");
    assert_true(seconds_of(done) < LIMIT_S);
}

int main(int argc, char **argv) {
    if (argc > 1) return run_rank(argv[1]);
    program = argv[0];
    jobs = mmap(NULL, N_JOBS * sizeof *jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                0);
    if (jobs == MAP_FAILED) return 1;
    /* As tools/run-tests has them, for a run by hand. */
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_rank_is_named),
        cmocka_unit_test(stopped_first_rank_is_found_by_the_others),
        cmocka_unit_test(both_watchers_stopped_are_found_by_a_third),
        cmocka_unit_test(endless_loop_is_told_from_waiting_for_it),
        cmocka_unit_test(ranks_that_wait_for_each_other_are_found),
        cmocka_unit_test(single_rank_that_hangs_is_found),
        cmocka_unit_test(what_is_slow_or_paused_for_less_than_the_limit_goes_on),
        cmocka_unit_test(job_that_was_suspended_as_a_whole_goes_on),
        cmocka_unit_test(rank_that_fails_alone_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
