#include "mpi/pairwise.h"

#include "mpi/world_comm.h"

enum { TAG = 1 };

/* Values of part r from `begin` on, at most a piece; 0 beyond its end. */
static int piece_length(const size_t *bounds, int r, size_t begin) {
    const size_t n = bounds[r + 1] - bounds[r];
    if (begin >= n) return 0;
    return (int)(n - begin < SP_PAIRWISE_PIECE ? n - begin : SP_PAIRWISE_PIECE);
}

/* Sends part `give` from `from` to rank `to`, piece by piece, while part `take` comes from rank
   `source` to `into`; or, with `sum`, is added to it by way of `into`. */
static void exchange(MPI_Comm comm, const size_t *bounds, const float *from, int give, int to,
                     float *into, int take, int source, float *sum) {
    for (size_t begin = 0;; begin += SP_PAIRWISE_PIECE) {
        const int n_give = piece_length(bounds, give, begin);
        const int n_take = piece_length(bounds, take, begin);
        if (n_give == 0 && n_take == 0) return;
        MPI_Request requests[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
        float *place = sum != NULL ? into : into + begin;
        if (n_take > 0) MPI_Irecv(place, n_take, MPI_FLOAT, source, TAG, comm, &requests[0]);
        if (n_give > 0) MPI_Isend(from + begin, n_give, MPI_FLOAT, to, TAG, comm, &requests[1]);
        sp_wait(&requests[0]);
        if (sum != NULL)
            for (int i = 0; i < n_take; i++) sum[begin + (size_t)i] += place[i];
        sp_wait(&requests[1]);
    }
}

void sp_pairwise_reduce_scatter(MPI_Comm comm, float *sum, const float *values,
                                const size_t *bounds, float *inbox) {
    int rank = 0, n_ranks = 0;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &n_ranks);
    const size_t n_own = bounds[rank + 1] - bounds[rank];
    for (size_t i = 0; i < n_own; i++) sum[i] += values[bounds[rank] + i];
    for (int step = 1; step < n_ranks; step++) {
        const int to = (rank + step) % n_ranks, source = (rank + n_ranks - step) % n_ranks;
        exchange(comm, bounds, values + bounds[to], to, to, inbox, rank, source, sum);
    }
}

void sp_pairwise_all_gather(MPI_Comm comm, float *values, const size_t *bounds) {
    int rank = 0, n_ranks = 0;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &n_ranks);
    for (int step = 1; step < n_ranks; step++) {
        const int to = (rank + step) % n_ranks, source = (rank + n_ranks - step) % n_ranks;
        exchange(comm, bounds, values + bounds[rank], rank, to, values + bounds[source], source,
                 source, NULL);
    }
}
