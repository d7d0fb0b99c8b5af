/* Memory of the ranks of one node: for a plan, and for a run at its start. */
#pragma once

#include "run/plan_chain.h"
#include "run/plan_memory.h"
#include "run/samples.h"

/* How a chain lies on the ranks. */
typedef struct sp_plan_grid {
    const sp_stage *stages; /* [n_stages], borrowed; stage s is rank s % pipeline's */
    size_t n_stages, pipeline, data;
    size_t global_batch, micro_batch; /* segments */
    int zero;                         /* 1 or 2 */
} sp_plan_grid;

/* Makes micro_batch what a pass takes of it, chain/pass.h, and of no more than a replica has. With zero 2
   each pass costs a reduction between replicas: there it takes a whole micro-batch. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_plan_settle_passes(sp_plan_grid *grid, const sp_plan_chain *chain);

/* Passes in a step of the replica with the most samples. */
size_t sp_plan_n_passes(const sp_plan_grid *grid);

/* Writes what a node's ranks need, world ranks `ranks` [node->n_ranks], to memories of as many; sets
   node->mapped; and chooses, as train.recompute says, which layers they recompute: `recomputes` of the
   chain's blocks on these ranks. The grid's passes are settled; `largest` is the batch of one. SP_FAILURE:
   no memory. */
SP_NODISCARD sp_status sp_plan_fit_node(sp_memory *memories, sp_node_memory *node,
                                        sp_plan_chain *chain, const sp_plan_grid *grid,
                                        const sp_batch *largest, const size_t *ranks);

/* A run that is about to begin, as one of its ranks sees it. */
typedef struct sp_plan_run {
    const sp_run_config *config;
    const sp_samples *samples;
    sp_plan_grid grid;
    size_t rank;         /* ours in the world */
    const size_t *ranks; /* [n_ranks] the world ranks on our node, ours too; borrowed */
    size_t n_ranks;
    uint64_t node_bytes; /* what they may have together */
    const char *source;  /* whose limit that is; borrowed */
} sp_plan_run;

/* Local, and the same on all ranks of a node. Foretells the run's memory, before any weight is loaded:
   refuses what the node does not have (SP_USAGE, as sp_memory_check()); else writes our own rank's to
   *memory, for our blocks, which are to be recomputed to recomputes [n_blocks of the chain], and, the
   same on all ranks, the samples of a pass to *pass_samples. */
SP_NODISCARD sp_status sp_plan_check(sp_memory *memory, bool *recomputes, size_t *pass_samples,
                                     const sp_plan_run *run);
