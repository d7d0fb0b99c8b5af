#include "mpi/shared_sum.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { STAGE_VALUES = SP_SHARED_SUM_BYTES / sizeof(float) };

struct sp_shared_sum {
    MPI_Comm node; /* borrowed */
    MPI_Win window;
    int rank, n_ranks;
    float **stages; /* [n_ranks], owned list: each rank's memory [STAGE_VALUES] in the window */
};

sp_status sp_shared_sum_create(sp_shared_sum **sum, MPI_Comm node) {
    void *block = NULL, *stages = NULL;
    int n_ranks = 0;
    MPI_Comm_size(node, &n_ranks);
    sp_status status = sp_alloc(&block, sizeof **sum, "shared sums");
    if (status == SP_OK)
        status = sp_alloc_array(&stages, (size_t)n_ranks, sizeof(float *), "shared sums");
    sp_shared_sum *made = block;
    float *own = NULL;
    int failed = status != SP_OK;
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, node);
    if (!failed) {
        *made = (sp_shared_sum){.node = node, .n_ranks = n_ranks, .stages = stages};
        MPI_Comm_rank(node, &made->rank);
        MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN); /* all see it if one has no room */
        failed = MPI_Win_allocate_shared(SP_SHARED_SUM_BYTES, sizeof(float), MPI_INFO_NULL, node,
                                         &own, &made->window) != MPI_SUCCESS;
        MPI_Comm_set_errhandler(node, MPI_ERRORS_ARE_FATAL);
    }
    if (failed) {
        free(stages);
        free(block);
        return sp_fail(SP_FAILURE, "no shared memory of %d MiB on this node; is /dev/shm full?",
                       SP_SHARED_SUM_BYTES >> 20);
    }
    for (int rank = 0; rank < n_ranks; rank++) {
        MPI_Aint n_bytes = 0;
        int unit = 0;
        MPI_Win_shared_query(made->window, rank, &n_bytes, &unit, &made->stages[rank]);
    }
    MPI_Win_lock_all(MPI_MODE_NOCHECK, made->window);
    *sum = made;
    return SP_OK;
}

void sp_shared_sum_destroy(sp_shared_sum *sum) {
    if (sum == NULL) return;
    MPI_Win_unlock_all(sum->window);
    MPI_Win_free(&sum->window);
    free(sum->stages);
    free(sum);
}

/* What each rank has written before is seen by all after. */
static void meet(const sp_shared_sum *sum) {
    MPI_Request request;
    MPI_Win_sync(sum->window);
    MPI_Ibarrier(sum->node, &request);
    sp_wait(&request);
    MPI_Win_sync(sum->window);
}

static size_t longest(const sp_shared_sum *sum, const size_t *bounds) {
    size_t most = 0;
    for (int j = 0; j < sum->n_ranks; j++)
        if (bounds[j + 1] - bounds[j] > most) most = bounds[j + 1] - bounds[j];
    return most;
}

/* Values of rank j's part from `begin` on, at most `most` of them. */
static size_t part_length(const size_t *bounds, int j, size_t begin, size_t most) {
    const size_t n = bounds[j + 1] - bounds[j];
    if (begin >= n) return 0;
    return n - begin < most ? n - begin : most;
}

/* A rank's stage has a lane for each rank; in turns of a lane's length all parts pass through. */
void sp_shared_sum_reduce_scatter(sp_shared_sum *sum, float *values, const size_t *bounds) {
    const size_t lane = STAGE_VALUES / (size_t)sum->n_ranks, n = longest(sum, bounds);
    float *own = sum->stages[sum->rank];
    for (size_t begin = 0; begin < n; begin += lane) {
        for (int j = 0; j < sum->n_ranks; j++) {
            const size_t count = part_length(bounds, j, begin, lane);
            if (count > 0)
                memcpy(own + (size_t)j * lane, values + bounds[j] + begin, count * sizeof *own);
        }
        meet(sum);
        const size_t count = part_length(bounds, sum->rank, begin, lane);
        float *out = values + bounds[sum->rank] + begin;
        for (int from = 0; from < sum->n_ranks; from++) {
            const float *theirs = sum->stages[from] + (size_t)sum->rank * lane;
            if (from == 0)
                memcpy(out, theirs, count * sizeof *out);
            else
                for (size_t i = 0; i < count; i++) out[i] += theirs[i];
        }
        meet(sum); /* before the lanes are written again */
    }
}

void sp_shared_sum_all_gather(sp_shared_sum *sum, float *values, const size_t *bounds) {
    const size_t n = longest(sum, bounds);
    for (size_t begin = 0; begin < n; begin += STAGE_VALUES) {
        const size_t count = part_length(bounds, sum->rank, begin, STAGE_VALUES);
        if (count > 0)
            memcpy(sum->stages[sum->rank], values + bounds[sum->rank] + begin,
                   count * sizeof *values);
        meet(sum);
        for (int j = 0; j < sum->n_ranks; j++) {
            const size_t theirs = part_length(bounds, j, begin, STAGE_VALUES);
            if (j != sum->rank && theirs > 0)
                memcpy(values + bounds[j] + begin, sum->stages[j], theirs * sizeof *values);
        }
        meet(sum);
    }
}
