#include "mpi/wire.h"

#include "base/memory.h"
#include "mpi/grid_comm.h"
#include "tensor/tensor.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Tags repeat after so many micro-batches, far more than are ever in flight. */
enum { MICRO_BATCH_TAGS = 4096 };

/* What is being sent. Places are used again, and their buffers with them. */
typedef struct outgoing {
    MPI_Request request; /* MPI_REQUEST_NULL: free */
    char *buffer;        /* owned */
    size_t capacity;     /* bytes */
} outgoing;

enum { MOST_OUTGOING = 256 };

struct sp_wire {
    MPI_Comm comm; /* a duplicate of the pipeline's, owned */
    bool is_bf16;
    uint16_t *inbox; /* owned: where bf16 arrives */
    size_t inbox_capacity;

    pthread_t thread;
    bool is_running;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    outgoing outgoing[MOST_OUTGOING];
    size_t n_active;
    bool ends;
};

static void pause_briefly(void) {
    const struct timespec pause = {0, 50000};
    nanosleep(&pause, NULL);
}

/* With the mutex: frees the places of what has arrived, and so moves what has not. */
static void test_outgoing(sp_wire *wire) {
    for (size_t i = 0; i < MOST_OUTGOING && wire->n_active > 0; i++) {
        int done = 0;
        if (wire->outgoing[i].request == MPI_REQUEST_NULL) continue;
        MPI_Test(&wire->outgoing[i].request, &done, MPI_STATUS_IGNORE);
        if (done) wire->n_active--;
    }
    pthread_cond_broadcast(&wire->changed);
}

static void *keep_moving(void *argument) {
    sp_wire *wire = argument;
    pthread_mutex_lock(&wire->mutex);
    while (true) {
        while (wire->n_active == 0 && !wire->ends) pthread_cond_wait(&wire->changed, &wire->mutex);
        if (wire->n_active == 0) break;
        test_outgoing(wire);
        pthread_mutex_unlock(&wire->mutex);
        pause_briefly();
        pthread_mutex_lock(&wire->mutex);
    }
    pthread_mutex_unlock(&wire->mutex);
    return NULL;
}

sp_status sp_wire_create(sp_wire **wire, const sp_grid *grid, bool is_bf16) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **wire, "the pipeline's wire"));
    sp_wire *made = block;
    made->is_bf16 = is_bf16;
    for (size_t i = 0; i < MOST_OUTGOING; i++) made->outgoing[i].request = MPI_REQUEST_NULL;
    MPI_Comm_dup(grid->pipeline, &made->comm);
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, NULL);
    made->is_running = sp_world_has_threads(grid->world) && grid->pipeline_size > 1;
    if (made->is_running && pthread_create(&made->thread, NULL, keep_moving, made) != 0) {
        made->is_running = false;
        sp_wire_destroy(made);
        return sp_fail(SP_FAILURE, "cannot start the wire's thread");
    }
    *wire = made;
    return SP_OK;
}

void sp_wire_destroy(sp_wire *wire) {
    if (wire == NULL) return;
    if (wire->is_running) {
        pthread_mutex_lock(&wire->mutex);
        wire->ends = true;
        pthread_cond_broadcast(&wire->changed);
        pthread_mutex_unlock(&wire->mutex);
        pthread_join(wire->thread, NULL);
    }
    for (; wire->n_active > 0; pause_briefly()) test_outgoing(wire);
    for (size_t i = 0; i < MOST_OUTGOING; i++) free(wire->outgoing[i].buffer);
    pthread_cond_destroy(&wire->changed);
    pthread_mutex_destroy(&wire->mutex);
    MPI_Comm_free(&wire->comm);
    free(wire->inbox);
    free(wire);
}

static int tag_of(sp_transfer transfer) {
    return (int)((transfer.stage * 2 + transfer.is_gradient) * MICRO_BATCH_TAGS +
                 transfer.micro_batch % MICRO_BATCH_TAGS);
}

static sp_status check_count(size_t n) {
    if (n <= INT_MAX) return SP_OK;
    return sp_fail(SP_FAILURE, "%zu values in one message between stages; lower train.micro_batch",
                   n);
}

static sp_status reserve(char **buffer, size_t *capacity, size_t n_bytes) {
    if (n_bytes <= *capacity) return SP_OK;
    void *grown = NULL;
    SP_TRY(sp_alloc(&grown, n_bytes, "a message between stages"));
    free(*buffer);
    *buffer = grown;
    *capacity = n_bytes;
    return SP_OK;
}

/* With the mutex: a free place, waiting for one if need be. Small ones first, so that the buffers of
   a steady pipeline stop growing. */
static outgoing *find_place(sp_wire *wire) {
    while (wire->n_active == MOST_OUTGOING) {
        test_outgoing(wire);
        pthread_mutex_unlock(&wire->mutex);
        pause_briefly();
        pthread_mutex_lock(&wire->mutex);
    }
    for (size_t i = 0;; i++)
        if (wire->outgoing[i].request == MPI_REQUEST_NULL) return &wire->outgoing[i];
}

static sp_status send_locked(sp_wire *wire, int to, int tag, const float *x, size_t n) {
    outgoing *out = find_place(wire);
    const size_t n_bytes = n * (wire->is_bf16 ? sizeof(uint16_t) : sizeof(float));
    SP_TRY(reserve(&out->buffer, &out->capacity, n_bytes));
    if (wire->is_bf16)
        sp_f32_to_bf16((uint16_t *)(void *)out->buffer, x, n);
    else if (n > 0) /* an empty micro-batch has no rows, and nowhere to keep them */
        memcpy(out->buffer, x, n_bytes);
    MPI_Isend(out->buffer, (int)n, wire->is_bf16 ? MPI_UINT16_T : MPI_FLOAT, to, tag, wire->comm,
              &out->request);
    wire->n_active++;
    pthread_cond_broadcast(&wire->changed);
    return SP_OK;
}

sp_status sp_wire_send(sp_wire *wire, size_t to, sp_transfer transfer, const float *x, size_t n) {
    SP_TRY(check_count(n));
    pthread_mutex_lock(&wire->mutex);
    const sp_status status = send_locked(wire, (int)to, tag_of(transfer), x, n);
    pthread_mutex_unlock(&wire->mutex);
    return status;
}

sp_status sp_wire_receive(sp_wire *wire, size_t from, sp_transfer transfer, float *x, size_t n) {
    MPI_Request request;
    SP_TRY(check_count(n));
    if (!wire->is_bf16) {
        MPI_Irecv(x, (int)n, MPI_FLOAT, (int)from, tag_of(transfer), wire->comm, &request);
        sp_wait(&request);
        return SP_OK;
    }
    SP_TRY(reserve((char **)&wire->inbox, &wire->inbox_capacity, n * sizeof(uint16_t)));
    MPI_Irecv(wire->inbox, (int)n, MPI_UINT16_T, (int)from, tag_of(transfer), wire->comm, &request);
    sp_wait(&request);
    sp_bf16_to_f32(x, wire->inbox, n);
    return SP_OK;
}
