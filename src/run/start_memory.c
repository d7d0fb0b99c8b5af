#include "run/start_memory.h"

#include "base/memory.h"
#include "base/memory_limit.h"
#include "run/plan_node.h"

#include <stdlib.h>
#include <string.h>

/* World ranks on our host, in rising order, to ranks [world size]; returns how many. */
static size_t ranks_here(size_t *ranks, const sp_world *world) {
    const char *here = sp_world_host(world, sp_world_rank(world));
    size_t n = 0;
    for (int r = 0; r < sp_world_size(world); r++)
        if (strcmp(sp_world_host(world, r), here) == 0) ranks[n++] = (size_t)r;
    return n;
}

sp_status sp_start_memory_check(sp_start_memory *made, const sp_run_config *config,
                                const sp_world *world, const sp_grid *grid, const sp_stages *stages,
                                const sp_samples *samples) {
    sp_memory_limit limit;
    void *ranks = NULL;
    SP_TRY(sp_memory_limit_read(&limit, ""));
    SP_TRY(sp_alloc_array(&ranks, (size_t)sp_world_size(world), sizeof(size_t), "ranks"));
    const sp_plan_run run = {.config = config,
                             .samples = samples,
                             .grid = {.stages = stages->stages,
                                      .n_stages = stages->n_stages,
                                      .pipeline = stages->n_ranks,
                                      .data = sp_grid_data_size(grid),
                                      .global_batch = config->train.global_batch,
                                      .micro_batch = config->train.micro_batch,
                                      .zero = (int)config->parallel.zero},
                             .rank = (size_t)sp_world_rank(world),
                             .ranks = ranks,
                             .n_ranks = ranks_here(ranks, world),
                             .node_bytes = limit.n_bytes,
                             .source = limit.source};
    made->node_bytes = limit.n_bytes;
    const sp_status status =
        sp_plan_check(&made->memory, made->recomputes, &made->pass_samples, &run);
    free(ranks);
    return status;
}
