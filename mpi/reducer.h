/* Gradients and updated values of one stage's parameters over the replicas of a data group (ZeRO,
   Rajbhandari et al. 2020, arXiv 1910.02054).

       backward of a group done   reduce_scatter: each rank gets the sums of its shard's gradients
       shard updated              all_gather: each rank gets the others' values

   A group of parameters (chain/params.h) is reduced as soon as its block has run, and gathered in
   the order in which the next forward pass wants it, both on a communication thread while this rank
   computes. Sums are made in f32 in a fixed order: the same bits in every run of a grid. Where a data
   group has several ranks on each node, a node adds up through shared memory first, and only its sum
   crosses the network.

   With zero 1 gradients of all groups are kept and reduced after the last micro-batch. With zero 2
   two groups' are kept: each micro-batch's are reduced at once and added to the shard's, for the
   price of as many reductions; the parameters have then no gradients of their own
   (sp_params.are_frozen).

   With one replica nothing is moved, and the shard's gradients are the parameters' own. */
#pragma once

#include "chain/params.h"
#include "chain/shard.h"
#include "mpi/grid.h"

typedef struct sp_reducer sp_reducer;

/* Collective over the data group. Makes a reducer of `params` for this rank's shard into *reducer,
   owned; all are borrowed until sp_reducer_destroy(), which is collective too. SP_FAILURE: no memory,
   or no thread to be had. */
SP_NODISCARD sp_status sp_reducer_create(sp_reducer **reducer, const sp_grid *grid,
                                         sp_params *params, const sp_shard *shard, int zero);
void sp_reducer_destroy(sp_reducer *reducer); /* NULL is fine */

/* Gradients of the shard [shard.n_values], borrowed; complete after sp_reducer_wait_gradients(). */
const float *sp_reducer_gradients(const sp_reducer *reducer);

/* Local. Begins a step: gradients become zero. */
void sp_reducer_begin_step(sp_reducer *reducer);

/* Around a block's backward pass; g is the block's group. The second call hands the group's gradients
   on if they are to be reduced. All replicas run the same blocks over as many micro-batches (which may
   be empty) in the same order. */
void sp_reducer_before_backward(sp_reducer *reducer, size_t g);
void sp_reducer_after_backward(sp_reducer *reducer, size_t g, bool is_last_micro_batch);

/* Waits until the shard's gradients are complete. */
void sp_reducer_wait_gradients(sp_reducer *reducer);

/* Local. Begins to gather all groups' values, in the order of the groups. */
void sp_reducer_gather(sp_reducer *reducer);

/* Waits for the values of group g, or of all. */
void sp_reducer_wait_values(sp_reducer *reducer, size_t g);
void sp_reducer_wait_all_values(sp_reducer *reducer);

/* Memory that a reducer of `params` takes itself, in bytes, its shared memory included. */
size_t sp_reducer_bytes(const sp_params *params, size_t n_shard_values, size_t data_size, int zero);
