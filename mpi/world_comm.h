/* What a world is made of; for the files under mpi/ only. */
#pragma once

#include "mpi/world.h"

#include <mpi.h>

struct sp_world {
    MPI_Comm comm; /* a duplicate of MPI_COMM_WORLD, owned */
    int rank, n_ranks;
    int n_nodes;
    bool has_threads;
    char (*hosts)[SP_HOST_SIZE]; /* [n_ranks], owned */
    bool has_agreed_failure;     /* the present failure is known to all ranks */
};

/* Completes a request, sleeping between tests: Open MPI's own wait spins on a core that computes. */
void sp_wait(MPI_Request *request);
