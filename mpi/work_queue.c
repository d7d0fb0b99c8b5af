#include "mpi/work_queue.h"

#include "base/memory.h"
#include "mpi/agree.h"
#include "mpi/world_comm.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* What a rank asks for, and the tag it goes by; only TAKE is answered. */
typedef enum question { TAKE, STOP, LEAVE } question;
enum { TAG_QUESTION = 1, TAG_ITEM = 2 };

#define NO_ITEM UINT64_MAX

struct sp_work_queue {
    MPI_Comm comm; /* owned */
    int rank, n_ranks;
    bool is_dealt; /* without a thread: in turn */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex;  /* of `next`, on rank 0; items that are dealt have one owner */
    uint64_t next, n_items; /* rank 0's, or where items are dealt, each rank's own */
};

/* ---- rank 0: the items, and the thread that hands them to others ---- */

static uint64_t take_next(sp_work_queue *queue, uint64_t stride) {
    pthread_mutex_lock(&queue->mutex);
    const uint64_t item = queue->next < queue->n_items ? queue->next : NO_ITEM;
    if (item != NO_ITEM) queue->next += stride;
    pthread_mutex_unlock(&queue->mutex);
    return item;
}

static void stop_here(sp_work_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    queue->next = queue->n_items;
    pthread_mutex_unlock(&queue->mutex);
}

/* Answers one question if there is one; counts in *n_left who needs nothing more. */
static bool answer(sp_work_queue *queue, int *n_left) {
    int is_there = 0;
    MPI_Message message;
    MPI_Status status;
    MPI_Request request;
    MPI_Improbe(MPI_ANY_SOURCE, TAG_QUESTION, queue->comm, &is_there, &message, &status);
    if (!is_there) return false;
    int asked = TAKE;
    MPI_Imrecv(&asked, 1, MPI_INT, &message, &request);
    sp_wait(&request);
    if (asked == LEAVE) ++*n_left;
    if (asked == STOP) stop_here(queue);
    if (asked == TAKE) {
        const uint64_t item = take_next(queue, 1);
        MPI_Isend(&item, 1, MPI_UINT64_T, status.MPI_SOURCE, TAG_ITEM, queue->comm, &request);
        sp_wait(&request);
    }
    return true;
}

static void *serve(void *argument) {
    const struct timespec pause = {0, 1000000};
    sp_work_queue *queue = argument;
    for (int n_left = 0; n_left < queue->n_ranks - 1;)
        if (!answer(queue, &n_left)) nanosleep(&pause, NULL);
    return NULL;
}

static sp_status start_serving(sp_work_queue *queue) {
    if (queue->rank != 0 || queue->is_dealt || queue->n_ranks == 1) return SP_OK;
    queue->has_thread = pthread_create(&queue->thread, NULL, serve, queue) == 0;
    return queue->has_thread ? SP_OK : sp_fail(SP_FAILURE, "no thread to hand out work");
}

/* ---- every rank ---- */

static void ask(const sp_work_queue *queue, question what) {
    const int asked = (int)what;
    MPI_Request request;
    MPI_Isend(&asked, 1, MPI_INT, 0, TAG_QUESTION, queue->comm, &request);
    sp_wait(&request);
}

static void release(sp_work_queue *queue) {
    MPI_Comm_free(&queue->comm);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

sp_status sp_work_queue_begin(sp_work_queue **queue, sp_world *world, uint64_t n_items) {
    void *block = NULL;
    SP_TRY(sp_agree(world, sp_alloc(&block, sizeof **queue, "a queue of work")));
    sp_work_queue *made = block;
    made->rank = world->rank;
    made->n_ranks = world->n_ranks;
    made->is_dealt = !world->has_threads;
    made->next = made->is_dealt ? (uint64_t)made->rank : 0;
    made->n_items = n_items;
    pthread_mutex_init(&made->mutex, NULL);
    MPI_Comm_dup(world->comm, &made->comm);
    /* Only rank 0 can fail, so that nobody has asked its thread anything. */
    const sp_status status = sp_agree(world, start_serving(made));
    if (status == SP_OK)
        *queue = made;
    else
        release(made);
    return status;
}

bool sp_work_queue_take(sp_work_queue *queue, uint64_t *item) {
    uint64_t taken = NO_ITEM;
    if (queue->is_dealt) {
        taken = take_next(queue, (uint64_t)queue->n_ranks);
    } else if (queue->rank == 0) {
        taken = take_next(queue, 1);
    } else {
        MPI_Request request;
        ask(queue, TAKE);
        MPI_Irecv(&taken, 1, MPI_UINT64_T, 0, TAG_ITEM, queue->comm, &request);
        sp_wait(&request);
    }
    if (taken == NO_ITEM) return false;
    *item = taken;
    return true;
}

void sp_work_queue_stop(sp_work_queue *queue) {
    if (queue->is_dealt || queue->rank == 0)
        stop_here(queue);
    else
        ask(queue, STOP);
}

void sp_work_queue_end(sp_work_queue *queue) {
    if (queue == NULL) return;
    if (!queue->is_dealt && queue->rank != 0) ask(queue, LEAVE);
    if (queue->has_thread) pthread_join(queue->thread, NULL);
    release(queue);
}
