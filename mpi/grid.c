#include "mpi/grid.h"

#include "base/memory.h"
#include "mpi/grid_comm.h"

#include <stdlib.h>

static void free_comm(MPI_Comm *comm) {
    if (*comm != MPI_COMM_NULL) MPI_Comm_free(comm);
}

/* Splits the data group by nodes; keeps the two levels only if they are a rectangle. */
static void find_levels(sp_grid *grid) {
    MPI_Comm node = MPI_COMM_NULL, across = MPI_COMM_NULL;
    MPI_Comm_split_type(grid->data, MPI_COMM_TYPE_SHARED, grid->data_rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &grid->node_rank);
    MPI_Comm_size(node, &grid->node_size);
    MPI_Comm_split(grid->data, grid->node_rank, grid->data_rank, &across);
    MPI_Comm_rank(across, &grid->across_rank);
    MPI_Comm_size(across, &grid->across_size);
    int bounds[2] = {grid->node_size, -grid->node_size};
    MPI_Allreduce(MPI_IN_PLACE, bounds, 2, MPI_INT, MPI_MAX, grid->data);
    if (bounds[0] == -bounds[1] && grid->node_size > 1) {
        grid->node = node;
        grid->across = across;
        return;
    }
    free_comm(&across);
    free_comm(&node);
}

sp_status sp_grid_create(sp_grid **grid, sp_world *world, size_t pipeline) {
    const size_t n_ranks = (size_t)world->n_ranks;
    if (n_ranks % pipeline != 0)
        return sp_fail(SP_USAGE,
                       "parallel.pipeline: %zu ranks make no whole number of pipelines of %zu; "
                       "start a multiple of %zu, or set it to a divisor of %zu",
                       n_ranks, pipeline, pipeline, n_ranks);
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **grid, "the grid of ranks"));
    sp_grid *made = block;
    *made = (sp_grid){.world = world,
                      .pipeline_rank = world->rank % (int)pipeline,
                      .pipeline_size = (int)pipeline,
                      .data_rank = world->rank / (int)pipeline,
                      .data_size = world->n_ranks / (int)pipeline,
                      .pipeline = MPI_COMM_NULL,
                      .data = MPI_COMM_NULL,
                      .node = MPI_COMM_NULL,
                      .across = MPI_COMM_NULL};
    MPI_Comm_split(world->comm, made->data_rank, world->rank, &made->pipeline);
    MPI_Comm_split(world->comm, made->pipeline_rank, world->rank, &made->data);
    find_levels(made);
    *grid = made;
    return SP_OK;
}

void sp_grid_destroy(sp_grid *grid) {
    if (grid == NULL) return;
    free_comm(&grid->across);
    free_comm(&grid->node);
    free_comm(&grid->data);
    free_comm(&grid->pipeline);
    free(grid);
}

size_t sp_grid_pipeline_size(const sp_grid *grid) { return (size_t)grid->pipeline_size; }
size_t sp_grid_pipeline_rank(const sp_grid *grid) { return (size_t)grid->pipeline_rank; }
size_t sp_grid_data_size(const sp_grid *grid) { return (size_t)grid->data_size; }
size_t sp_grid_data_rank(const sp_grid *grid) { return (size_t)grid->data_rank; }

bool sp_grid_has_two_levels(const sp_grid *grid) { return grid->node != MPI_COMM_NULL; }

/* With two levels a node's rank owns neighbouring shards on all nodes: a node first adds up what
   lies together. */
size_t sp_grid_shard_index(const sp_grid *grid) {
    if (!sp_grid_has_two_levels(grid)) return (size_t)grid->data_rank;
    return (size_t)(grid->node_rank * grid->across_size + grid->across_rank);
}
