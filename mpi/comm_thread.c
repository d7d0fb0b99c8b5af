#include "mpi/comm_thread.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum { MOST_JOBS = 4096 };

typedef struct pending_job {
    sp_comm_job run;
    void *owner;
    size_t item;
} pending_job;

struct sp_comm_thread {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pending_job jobs[MOST_JOBS]; /* a ring: job n at n % MOST_JOBS */
    uint64_t n_given, n_done;
    bool is_running; /* there is a thread */
    bool ends;
};

static void *run_jobs(void *argument) {
    sp_comm_thread *self = argument;
    pthread_mutex_lock(&self->mutex);
    while (true) {
        while (self->n_done == self->n_given && !self->ends)
            pthread_cond_wait(&self->changed, &self->mutex);
        if (self->n_done == self->n_given) break;
        const pending_job job = self->jobs[(self->n_done + 1) % MOST_JOBS];
        pthread_mutex_unlock(&self->mutex);
        job.run(job.owner, job.item);
        pthread_mutex_lock(&self->mutex);
        self->n_done++;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

sp_status sp_comm_thread_create(sp_comm_thread **thread, const sp_world *world) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **thread, "the communication thread"));
    sp_comm_thread *made = block;
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, NULL);
    made->is_running = sp_world_has_threads(world);
    if (made->is_running && pthread_create(&made->thread, NULL, run_jobs, made) != 0) {
        made->is_running = false;
        sp_comm_thread_destroy(made);
        return sp_fail(SP_FAILURE, "cannot start the communication thread");
    }
    *thread = made;
    return SP_OK;
}

void sp_comm_thread_destroy(sp_comm_thread *thread) {
    if (thread == NULL) return;
    if (thread->is_running) {
        pthread_mutex_lock(&thread->mutex);
        thread->ends = true;
        pthread_cond_broadcast(&thread->changed);
        pthread_mutex_unlock(&thread->mutex);
        pthread_join(thread->thread, NULL);
    }
    pthread_cond_destroy(&thread->changed);
    pthread_mutex_destroy(&thread->mutex);
    free(thread);
}

uint64_t sp_comm_thread_submit(sp_comm_thread *thread, sp_comm_job job, void *owner, size_t item) {
    if (!thread->is_running) {
        job(owner, item);
        thread->n_done++;
        return ++thread->n_given;
    }
    pthread_mutex_lock(&thread->mutex);
    while (thread->n_given - thread->n_done == MOST_JOBS)
        pthread_cond_wait(&thread->changed, &thread->mutex);
    const uint64_t ticket = ++thread->n_given;
    thread->jobs[ticket % MOST_JOBS] = (pending_job){job, owner, item};
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->mutex);
    return ticket;
}

void sp_comm_thread_wait(sp_comm_thread *thread, uint64_t ticket) {
    if (!thread->is_running) return;
    pthread_mutex_lock(&thread->mutex);
    while (thread->n_done < ticket) pthread_cond_wait(&thread->changed, &thread->mutex);
    pthread_mutex_unlock(&thread->mutex);
}
