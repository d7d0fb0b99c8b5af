/* What a grid is made of; for the files under mpi/ only. */
#pragma once

#include "mpi/grid.h"
#include "mpi/world_comm.h"

struct sp_grid {
    sp_world *world; /* borrowed */
    int pipeline_rank, pipeline_size;
    int data_rank, data_size;
    MPI_Comm pipeline, data; /* owned; ranked by pipeline_rank, by data_rank */
    /* With two levels, owned; else MPI_COMM_NULL. The ranks of the data group on this node, and
       those with the same place on each of its nodes. */
    MPI_Comm node, across;
    int node_rank, node_size, across_rank, across_size;
};
