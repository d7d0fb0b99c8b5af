#include "run/checkpointer.h"

#include "base/clock.h"
#include "base/memory.h"
#include "mpi/agree.h"
#include "run/run_folder.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct sp_checkpointer {
    sp_world *world;
    const sp_params *params;
    const sp_shard *shard;
    float *values, *m, *v; /* [shard->n_values], owned: the snapshot */
    const sp_shard *frozen;
    const float *frozen_values;

    bool is_busy;
    sp_train_state about; /* holds references to its json objects */
    double seconds;

    /* The thread's from begin() until it is joined. */
    pthread_t thread;
    bool is_running;
    atomic_bool is_written;
    sp_status status;
    char message[SP_MESSAGE_SIZE]; /* why it failed: each thread has its own */
    sp_state_part *part;           /* owned: what it has written */
};

sp_status sp_checkpointer_create(sp_checkpointer **checkpointer, sp_world *world,
                                 const sp_params *params, const sp_shard *shard) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **checkpointer, "checkpoints"));
    sp_checkpointer *made = block;
    *made = (sp_checkpointer){.world = world, .params = params, .shard = shard};
    float **arrays[] = {&made->values, &made->m, &made->v};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        const sp_status status =
            sp_alloc_array(&block, shard->n_values, sizeof(float), "a checkpoint's snapshot");
        if (status != SP_OK) {
            sp_checkpointer_destroy(made);
            return status;
        }
        *arrays[i] = block;
    }
    *checkpointer = made;
    return SP_OK;
}

void sp_checkpointer_add_frozen(sp_checkpointer *c, const sp_shard *frozen, const float *values) {
    c->frozen = frozen;
    c->frozen_values = values;
}

/* ---- a snapshot and its thread ---- */

/* By all threads: one alone does not use up the memory's bandwidth. */
static void copy(float *to, const float *from, size_t n) {
    enum { BLOCK = 1 << 18 }; /* 1 MiB */
#pragma omp parallel for schedule(static) if (n > BLOCK)
    for (size_t begin = 0; begin < n; begin += BLOCK)
        memcpy(to + begin, from + begin, (n - begin < BLOCK ? n - begin : BLOCK) * sizeof *to);
}

static void take_snapshot(sp_checkpointer *c, const float *m, const float *v) {
    for (size_t i = 0; i < c->shard->n_pieces; i++) {
        const sp_shard_piece *piece = &c->shard->pieces[i];
        copy(c->values + piece->local, c->params->values + piece->offset, piece->n_values);
    }
    copy(c->m, m, c->shard->n_values);
    copy(c->v, v, c->shard->n_values);
}

static void *write_snapshot(void *data) {
    sp_checkpointer *c = data;
    const sp_state_rows rows = {.shard = c->shard,
                                .values = c->values,
                                .m = c->m,
                                .v = c->v,
                                .frozen = c->frozen,
                                .frozen_values = c->frozen_values};
    c->status = sp_train_state_write(&c->part, c->about.config->run.dir, c->about.step,
                                     (size_t)sp_world_rank(c->world), &rows);
    if (c->status != SP_OK) strcpy(c->message, sp_message()); /* never longer */
    atomic_store(&c->is_written, true);
    return NULL;
}

/* Signals are for the thread that trains, so the new one takes none. Without a thread the file is
   written at once. */
static void start(sp_checkpointer *c) {
    sigset_t all, before;
    atomic_store(&c->is_written, false);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    c->is_running = pthread_create(&c->thread, NULL, write_snapshot, c) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!c->is_running) write_snapshot(c);
}

static void join(sp_checkpointer *c) {
    if (c->is_running) pthread_join(c->thread, NULL);
    c->is_running = false;
}

/* ---- together ---- */

sp_status sp_checkpointer_begin(sp_checkpointer *c, const sp_train_state *about, const float *m,
                                const float *v) {
    assert(!c->is_busy);
    const double before = sp_clock_seconds();
    sp_status status = SP_OK;
    if (sp_world_rank(c->world) == 0)
        status =
            sp_run_folder_explain(sp_checkpoint_make_folder(about->config->run.dir, about->step));
    SP_TRY(sp_agree(c->world, status));
    c->about = *about;
    json_incref(c->about.grid);
    json_incref(c->about.state);
    c->is_busy = true;
    take_snapshot(c, m, v);
    start(c);
    c->seconds += sp_clock_seconds() - before;
    return SP_OK;
}

bool sp_checkpointer_is_busy(const sp_checkpointer *c) { return c->is_busy; }

bool sp_checkpointer_is_written(const sp_checkpointer *c) { return atomic_load(&c->is_written); }

/* Rank 0 has the parts of all and makes them the checkpoint. */
static sp_status publish_all(sp_checkpointer *c) {
    char *parts = NULL;
    size_t *sizes = NULL, n_bytes = 0;
    sp_status status = sp_agree(
        c->world, sp_world_gather(c->world, c->part, sp_state_part_bytes(c->part), &parts, &sizes));
    if (status != SP_OK) return status;
    if (sp_world_rank(c->world) == 0) {
        for (int rank = 0; rank < sp_world_size(c->world); rank++) n_bytes += sizes[rank];
        status = sp_run_folder_explain(sp_train_state_publish(&c->about, parts, n_bytes));
    }
    free(sizes);
    free(parts);
    return sp_agree(c->world, status);
}

static void end(sp_checkpointer *c) {
    free(c->part);
    c->part = NULL;
    json_decref(c->about.grid);
    json_decref(c->about.state);
    c->is_busy = false;
}

sp_status sp_checkpointer_publish(sp_checkpointer *c) {
    assert(c->is_busy);
    const double before = sp_clock_seconds();
    join(c);
    sp_status status =
        c->status == SP_OK ? SP_OK : sp_run_folder_explain(sp_fail(c->status, "%s", c->message));
    status = sp_agree(c->world, status);
    if (status == SP_OK) status = publish_all(c);
    if (status != SP_OK && sp_world_rank(c->world) == 0)
        sp_checkpoint_discard(c->about.config->run.dir, c->about.step);
    end(c);
    c->seconds += sp_clock_seconds() - before;
    return status;
}

double sp_checkpointer_take_seconds(sp_checkpointer *c) {
    const double seconds = c->seconds;
    c->seconds = 0;
    return seconds;
}

void sp_checkpointer_destroy(sp_checkpointer *c) {
    if (c == NULL) return;
    join(c);
    if (c->is_busy) {
        if (sp_world_rank(c->world) == 0)
            sp_checkpoint_discard(c->about.config->run.dir, c->about.step);
        end(c);
    }
    free(c->v);
    free(c->m);
    free(c->values);
    free(c);
}
