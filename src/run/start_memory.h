/* The memory of a run at its start, before it loads a weight: is there enough, and what is to be
   recomputed so that there is? */
#pragma once

#include "mpi/grid.h"
#include "mpi/world.h"
#include "run/plan_memory.h"
#include "run/samples.h"
#include "run/stages.h"

typedef struct sp_start_memory {
    sp_memory memory;               /* what this rank will need */
    uint64_t node_bytes;            /* what all ranks of this node may have together */
    bool recomputes[SP_MAX_BLOCKS]; /* of this rank's blocks: for its chain */
    size_t pass_samples;            /* of a micro-batch; the same on all ranks */
} sp_start_memory;

/* Local, and the same on all ranks of a node: foretells what they need, and refuses what the node, or
   the control group that they run in, does not have (SP_USAGE, as sp_memory_check()). */
SP_NODISCARD sp_status sp_start_memory_check(sp_start_memory *made, const sp_run_config *config,
                                             const sp_world *world, const sp_grid *grid,
                                             const sp_stages *stages, const sp_samples *samples);
