#include "mpi/step_timing.h"

#include "mpi/world_comm.h"

#include <math.h>

sp_step_timing sp_step_timing_reduce(sp_world *world, double busy_s, double step_s) {
    struct { /* MPI_DOUBLE_INT */
        double seconds;
        int rank;
    } slowest = {busy_s, world->rank};
    double sums[] = {busy_s, step_s};
    MPI_Request find_slowest, add;
    MPI_Iallreduce(MPI_IN_PLACE, &slowest, 1, MPI_DOUBLE_INT, MPI_MAXLOC, world->comm,
                   &find_slowest);
    MPI_Iallreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world->comm, &add);
    sp_wait(&find_slowest);
    sp_wait(&add);

    const double mean_s = sums[0] / world->n_ranks;
    return (sp_step_timing){
        .slowest_rank = slowest.rank,
        .slowest_host = sp_world_host(world, slowest.rank),
        .slowest_seconds = slowest.seconds,
        .mean_seconds = mean_s,
        .balance = slowest.seconds > 0 ? mean_s / slowest.seconds : 1,
        /* Clocks are read at slightly different moments, so the quotient may pass 1. */
        .bubble = sums[1] > 0 ? fmax(0, 1 - sums[0] / sums[1]) : 0,
    };
}
