#include "mpi/watchdog.h"

#include "base/clock.h"
#include "base/memory.h"
#include "mpi/agree.h"
#include "mpi/world_comm.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TAG_BEAT = 1 }; /* on a communicator of our own */

static const struct {
    const char *name;
    bool waits; /* for other ranks: never the one that is late */
} phases[SP_N_PHASES] = {
    [SP_PHASE_START] = {"starting", false},
    [SP_PHASE_DATA] = {"reading samples", false},
    [SP_PHASE_FORWARD] = {"forward", false},
    [SP_PHASE_BACKWARD] = {"backward", false},
    [SP_PHASE_UPDATE] = {"updating weights", false},
    [SP_PHASE_VALIDATE] = {"validating", false},
    [SP_PHASE_SAVE] = {"saving a checkpoint", false},
    [SP_PHASE_NEIGHBOUR] = {"waiting for a neighbour", true},
    [SP_PHASE_REDUCE] = {"reducing gradients", true},
    [SP_PHASE_GATHER] = {"gathering weights", true},
    [SP_PHASE_COMPARE] = {"comparing replicas", true},
    [SP_PHASE_AGREE] = {"waiting for all ranks", true},
};

/* What a rank says of itself. Ranks of one job are of one architecture. */
typedef struct beat {
    uint64_t step, micro_batch, block;
    double age_s; /* since it moved */
    int32_t phase;
    int32_t is_last; /* nothing comes after it */
} beat;

typedef struct peer {
    beat beat;      /* its last */
    double heard_s; /* when that came, by our clock below */
    bool is_heard;  /* sends to us */
    bool has_ended;
} peer;

/* One beat at a time is on its way to a rank, so that a stopped one fills no buffers. */
typedef struct channel {
    int rank;
    MPI_Request request;
    beat beat;
    bool has_ended;
} channel;

typedef enum watch_state { STATE_MADE, STATE_WATCHING, STATE_ENDING, STATE_LEFT } watch_state;

struct sp_watchdog {
    sp_world *world; /* borrowed */
    MPI_Comm comm;   /* owned */
    double limit_s, interval_s, patience_s;

    /* Written by the training thread. */
    _Atomic uint64_t step, micro_batch, block, n_moves;
    _Atomic int phase;

    pthread_t thread;
    pthread_mutex_t lock; /* of `state` */
    pthread_cond_t changed;
    watch_state state;

    /* The thread's own. */
    double now_s, read_s; /* seconds that this thread has watched; the clock when that was read */
    uint64_t n_moves_seen;
    double moved_s;
    peer *peers;   /* [n_ranks], owned; our own stays empty */
    size_t n_open; /* peers that will still send */
    beat received;
    MPI_Request incoming;
    channel *channels; /* [n_channels], owned */
    size_t n_channels;
};

static int last_rank(const sp_watchdog *w) { return w->world->n_ranks - 1; }
static bool watches(const sp_watchdog *w, int rank) { return rank == 0 || rank == last_rank(w); }

/* ---- what is said and heard ---- */

/* Beyond an interval and some, what passed is a time in which this process did not run. */
static void advance_clock(sp_watchdog *w) {
    const double read_s = sp_clock_seconds();
    w->now_s += fmin(read_s - w->read_s, 2 * w->interval_s);
    w->read_s = read_s;
    const uint64_t n_moves = atomic_load_explicit(&w->n_moves, memory_order_acquire);
    if (n_moves != w->n_moves_seen) w->moved_s = w->now_s;
    w->n_moves_seen = n_moves;
}

static beat own_beat(sp_watchdog *w, bool is_last) {
    return (beat){.step = atomic_load_explicit(&w->step, memory_order_relaxed),
                  .micro_batch = atomic_load_explicit(&w->micro_batch, memory_order_relaxed),
                  .block = atomic_load_explicit(&w->block, memory_order_relaxed),
                  .age_s = w->now_s - w->moved_s,
                  .phase = atomic_load_explicit(&w->phase, memory_order_relaxed),
                  .is_last = is_last};
}

static void send_beats(sp_watchdog *w, bool is_last) {
    const beat mine = own_beat(w, is_last);
    for (size_t i = 0; i < w->n_channels; i++) {
        channel *to = &w->channels[i];
        int is_free = 0;
        MPI_Test(&to->request, &is_free, MPI_STATUS_IGNORE);
        if (to->has_ended || !is_free) continue;
        to->beat = mine;
        to->has_ended = is_last;
        MPI_Isend(&to->beat, sizeof to->beat, MPI_BYTE, to->rank, TAG_BEAT, w->comm, &to->request);
    }
}

static bool all_are_sent(sp_watchdog *w) {
    for (size_t i = 0; i < w->n_channels; i++) {
        int is_free = 0;
        MPI_Test(&w->channels[i].request, &is_free, MPI_STATUS_IGNORE);
        if (!w->channels[i].has_ended || !is_free) return false;
    }
    return true;
}

/* Takes in what has come. A receive is posted only while more must come, so none is left over. */
static void receive_beats(sp_watchdog *w) {
    while (w->n_open > 0) {
        if (w->incoming == MPI_REQUEST_NULL)
            MPI_Irecv(&w->received, sizeof w->received, MPI_BYTE, MPI_ANY_SOURCE, TAG_BEAT, w->comm,
                      &w->incoming);
        int has_come = 0;
        MPI_Status from = {0};
        /* A test may be what lets the library notice; the next one finds it. */
        for (int i = 0; i < 4 && !has_come; i++) MPI_Test(&w->incoming, &has_come, &from);
        if (!has_come) return;
        advance_clock(w); /* if we were stopped just before, it was not heard then */
        peer *sender = &w->peers[from.MPI_SOURCE];
        sender->beat = w->received;
        sender->heard_s = w->now_s;
        if (w->received.is_last) {
            sender->has_ended = true;
            w->n_open--;
        }
    }
}

/* ---- what is made of it ---- */

/* Since a rank moved, as far as we know. */
static double age_of(sp_watchdog *w, int rank) {
    if (rank == w->world->rank) return w->now_s - w->moved_s;
    return w->peers[rank].beat.age_s + (w->now_s - w->peers[rank].heard_s);
}

static double silence_of(const sp_watchdog *w, int rank) {
    const peer *p = &w->peers[rank];
    return p->is_heard && !p->has_ended ? w->now_s - p->heard_s : 0;
}

/* Where two could speak, the second waits for the first to end the job. */
static double patience_with(const sp_watchdog *w, int rank) {
    if (w->world->rank == 0 || (w->world->rank == last_rank(w) && rank == 0)) return w->patience_s;
    return w->patience_s + (watches(w, w->world->rank) ? 1 : 2) * w->interval_s;
}

static bool has_silent_rank(const sp_watchdog *w) {
    for (int rank = 0; rank < w->world->n_ranks; rank++)
        if (silence_of(w, rank) >= patience_with(w, rank)) return true;
    return false;
}

/* Only watchers know of all. What counts is what a rank said, not what may have become of it since: it
   may have moved, and if it says nothing more, it is silent. */
static bool nothing_moves(sp_watchdog *w, bool has_ended) {
    if (!watches(w, w->world->rank)) return false;
    bool is_any = false;
    for (int rank = 0; rank < w->world->n_ranks; rank++) {
        const bool is_own = rank == w->world->rank;
        if (is_own ? has_ended : w->peers[rank].has_ended) continue;
        const double age_s = is_own ? age_of(w, rank) : w->peers[rank].beat.age_s;
        if (age_s < patience_with(w, last_rank(w))) return false;
        is_any = true;
    }
    return is_any;
}

static beat beat_of(sp_watchdog *w, int rank) {
    return rank == w->world->rank ? own_beat(w, false) : w->peers[rank].beat;
}

/* Whom the others wait for: one that is not heard, else one that does not wait itself, else any; of
   several, the one that has been there longest. */
static int find_late(sp_watchdog *w) {
    int late = w->world->rank, late_class = 3;
    double late_s = -1;
    for (int rank = 0; rank < w->world->n_ranks; rank++) {
        const bool is_own = rank == w->world->rank;
        if (!is_own && (!w->peers[rank].is_heard || w->peers[rank].has_ended)) continue;
        const bool is_silent = silence_of(w, rank) >= w->patience_s;
        const int class = is_silent ? 0 : phases[beat_of(w, rank).phase].waits ? 2 : 1;
        const double since_s = is_silent ? silence_of(w, rank) : age_of(w, rank);
        if (class < late_class || (class == late_class && since_s > late_s))
            late = rank, late_class = class, late_s = since_s;
    }
    return late;
}

static void print_place(FILE *out, sp_watchdog *w, int rank) {
    const beat b = beat_of(w, rank);
    fprintf(out, "  rank %d (%s): %s, step %" PRIu64, rank, sp_world_host(w->world, rank),
            phases[b.phase].name, b.step);
    if (b.micro_batch != SP_NOWHERE) fprintf(out, ", micro-batch %" PRIu64, b.micro_batch);
    if (b.block != SP_NOWHERE) fprintf(out, ", block %" PRIu64, b.block);
    if (rank != w->world->rank && w->peers[rank].has_ended)
        fprintf(out, "; has ended\n");
    else if (silence_of(w, rank) >= 4 * w->interval_s)
        fprintf(out, ", when last heard %.1f s ago\n", silence_of(w, rank));
    else
        fprintf(out, "; moved %.1f s ago\n", age_of(w, rank));
}

static void print_report(FILE *out, sp_watchdog *w) {
    if (isatty(STDERR_FILENO)) fputc('\n', out); /* below a progress bar */
    fprintf(out, "slotpress: watchdog of rank %d: %s for %.1f s (run.watchdog_s: %g)\n",
            w->world->rank, has_silent_rank(w) ? "a rank is not heard" : "no rank moves",
            w->patience_s, w->limit_s);
    for (int rank = 0; rank < w->world->n_ranks; rank++)
        if (rank == w->world->rank || w->peers[rank].is_heard) print_place(out, w, rank);
    const int late = find_late(w);
    const char *why =
        silence_of(w, late) >= w->patience_s   ? "it is not heard: stopped, or its machine is gone"
        : phases[beat_of(w, late).phase].waits ? "all wait for each other, it has waited longest"
                                               : "it does not wait for others";
    fprintf(out, "slotpress: watchdog: rank %d on %s is late (%s); ending the job\n", late,
            sp_world_host(w->world, late), why);
}

/* In one piece, so that no other line comes between. Does not return. */
static void end_job(sp_watchdog *w) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out != NULL) {
        print_report(out, w);
        fclose(out);
        fwrite(text, 1, n_bytes, stderr);
        fflush(stderr);
    }
    MPI_Abort(w->world->comm, SP_FAILURE);
    _exit(SP_FAILURE);
}

/* ---- the thread ---- */

/* Waits until it is time for the next beat, or the state is no longer `from`. */
static watch_state wait_for_change(sp_watchdog *w, watch_state from, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double ns = (double)until.tv_nsec + fmod(seconds, 1) * 1e9;
    until.tv_sec += (time_t)seconds + (ns >= 1e9);
    until.tv_nsec = (long)(ns >= 1e9 ? ns - 1e9 : ns);
    pthread_mutex_lock(&w->lock);
    int result = 0;
    while (w->state == from && result == 0)
        result = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    const watch_state state = w->state;
    pthread_mutex_unlock(&w->lock);
    return state;
}

static void *watch(void *watchdog) {
    sp_watchdog *w = watchdog;
    const double poll_s = 0.005; /* in the end, when others wait for us to come to it */
    watch_state state = STATE_MADE;
    while (state == STATE_MADE) state = wait_for_change(w, STATE_MADE, w->interval_s);
    w->read_s = sp_clock_seconds();
    while (state != STATE_LEFT) {
        const bool is_ending = state == STATE_ENDING;
        advance_clock(w);
        send_beats(w, is_ending);
        receive_beats(w);
        if (is_ending && w->n_open == 0 && all_are_sent(w)) break;
        if (has_silent_rank(w) || nothing_moves(w, is_ending)) end_job(w);
        state = wait_for_change(w, state, is_ending ? poll_s : w->interval_s);
    }
    return NULL;
}

static void set_state(sp_watchdog *w, watch_state state) {
    pthread_mutex_lock(&w->lock);
    w->state = state;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* ---- beginning and end ---- */

static sp_status allocate(sp_watchdog **watchdog, sp_world *world) {
    const size_t n_ranks = (size_t)world->n_ranks;
    void *block = NULL, *peers = NULL, *channels = NULL;
    sp_status status = sp_alloc(&block, sizeof **watchdog, "the watchdog");
    if (status == SP_OK) status = sp_alloc_array(&peers, n_ranks, sizeof(peer), "the watchdog");
    if (status == SP_OK)
        status = sp_alloc_array(&channels, n_ranks, sizeof(channel), "the watchdog");
    if (status != SP_OK) {
        free(peers);
        free(block);
        return status;
    }
    *watchdog = block;
    (*watchdog)->peers = peers;
    (*watchdog)->channels = channels;
    return SP_OK;
}

static void release(sp_watchdog *w) {
    if (w == NULL) return;
    free(w->channels);
    free(w->peers);
    free(w);
}

/* Who sends to whom: a watcher and any other rank, in both directions. */
static void open_channels(sp_watchdog *w) {
    for (int rank = 0; rank < w->world->n_ranks; rank++) {
        if (rank == w->world->rank || !(watches(w, rank) || watches(w, w->world->rank))) continue;
        w->peers[rank] =
            (peer){.is_heard = true, .beat = {.micro_batch = SP_NOWHERE, .block = SP_NOWHERE}};
        w->n_open++;
        channel *to = &w->channels[w->n_channels++];
        to->rank = rank;
        to->request = MPI_REQUEST_NULL;
    }
}

/* Signals are the training thread's business. */
static sp_status start_thread(sp_watchdog *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&w->thread, NULL, watch, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) return sp_fail(SP_FAILURE, "no thread for the watchdog: %s", strerror(error));
    return SP_OK;
}

static void init_lock(sp_watchdog *w) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void destroy(sp_watchdog *w) {
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    release(w);
}

sp_status sp_watchdog_begin(sp_watchdog **watchdog, sp_world *world, double limit_s) {
    if (limit_s <= 0 || !world->has_threads) return SP_OK;
    sp_watchdog *w = NULL;
    sp_status status = sp_agree(world, allocate(&w, world));
    if (status != SP_OK) {
        release(w);
        return status;
    }
    w->world = world;
    w->limit_s = limit_s;
    w->interval_s = fmin(1, limit_s / 10);
    w->patience_s = limit_s - fmin(10, limit_s / 2);
    w->incoming = MPI_REQUEST_NULL;
    sp_watchdog_at(w, SP_PHASE_START, 0, SP_NOWHERE, SP_NOWHERE);
    init_lock(w);
    open_channels(w);
    MPI_Comm_dup(world->comm, &w->comm);

    const sp_status started = start_thread(w);
    status = sp_agree(world, started);
    if (status == SP_OK) {
        set_state(w, STATE_WATCHING);
        *watchdog = w;
        return SP_OK;
    }
    if (started == SP_OK) {
        set_state(w, STATE_LEFT);
        pthread_join(w->thread, NULL);
    }
    MPI_Comm_free(&w->comm);
    destroy(w);
    return status;
}

void sp_watchdog_at(sp_watchdog *w, sp_phase phase, uint64_t step, size_t micro_batch,
                    size_t block) {
    if (w == NULL) return;
    atomic_store_explicit(&w->phase, (int)phase, memory_order_relaxed);
    atomic_store_explicit(&w->step, step, memory_order_relaxed);
    atomic_store_explicit(&w->micro_batch, micro_batch, memory_order_relaxed);
    atomic_store_explicit(&w->block, block, memory_order_relaxed);
    /* One writer, so that no read-modify-write is needed. */
    const uint64_t n_moves = atomic_load_explicit(&w->n_moves, memory_order_relaxed);
    atomic_store_explicit(&w->n_moves, n_moves + 1, memory_order_release);
}

void sp_watchdog_end(sp_watchdog *w, sp_status status) {
    if (w == NULL) return;
    const bool is_agreed =
        status == SP_OK || w->world->has_agreed_failure || w->world->n_ranks == 1;
    atomic_store_explicit(&w->phase, SP_PHASE_AGREE, memory_order_relaxed);
    set_state(w, is_agreed ? STATE_ENDING : STATE_LEFT);
    pthread_join(w->thread, NULL);
    /* Requests that are still under way use the memory until the job's end, which is near. */
    if (!is_agreed) return;
    MPI_Comm_free(&w->comm);
    destroy(w);
}
