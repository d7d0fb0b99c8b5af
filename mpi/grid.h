/* The grid of ranks: world = data x pipeline.

   Ranks of one pipeline are neighbours (same node first): rank r is the (r % P)-th of pipeline
   r / P. The ranks with equal stages, one of each pipeline, are a data group: replicas of the same
   parameters, each of which updates one shard of them (chain/shard.h). */
#pragma once

#include "base/status.h"
#include "mpi/world.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_grid sp_grid;

/* Collective over the world. Makes the grid with pipelines of `pipeline` ranks into *grid, owned;
   the world is borrowed until sp_grid_destroy(), which is collective too. SP_USAGE: the world's size
   is no multiple of it. */
SP_NODISCARD sp_status sp_grid_create(sp_grid **grid, sp_world *world, size_t pipeline);
void sp_grid_destroy(sp_grid *grid); /* NULL is fine */

size_t sp_grid_pipeline_size(const sp_grid *grid);
size_t sp_grid_pipeline_rank(const sp_grid *grid);
size_t sp_grid_data_size(const sp_grid *grid); /* replicas */
size_t sp_grid_data_rank(const sp_grid *grid);

/* Which shard of its data group's parameters this rank updates. */
size_t sp_grid_shard_index(const sp_grid *grid);

/* Are gradients summed inside each node first, through shared memory? Where a data group has as
   many ranks on each of its nodes, more than one. */
bool sp_grid_has_two_levels(const sp_grid *grid);
