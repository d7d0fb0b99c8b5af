/* A shard: the part of the trained parameters that one of several replicas updates (ZeRO,
   Rajbhandari et al. 2020, arXiv 1910.02054): it alone holds AdamW's moments for these, and writes
   them into checkpoints.

   Every group of parameters is cut at rows into as many nearly equal parts as there are shards, so
   that a group can be reduced as soon as its block's backward pass is done, and a checkpoint holds
   whole rows. Local. */
#pragma once

#include "chain/params.h"

/* Rows of one parameter. */
typedef struct sp_shard_piece {
    const sp_param *param;    /* borrowed */
    size_t row_begin, n_rows; /* a vector's rows are its values */
    size_t offset;            /* of its first value in the flat arrays of sp_params */
    size_t local;             /* of its first value in arrays over the shard alone */
    size_t n_values;
} sp_shard_piece;

typedef struct sp_shard {
    sp_shard_piece *pieces; /* [n_pieces], owned, in flat order */
    size_t n_pieces, n_values;
} sp_shard; /* all zero: empty */

/* Makes the index-th of n_shards into *shard; release with sp_shard_free(). SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_shard_create(sp_shard *shard, const sp_params *params, size_t index,
                                       size_t n_shards);
void sp_shard_free(sp_shard *shard);

/* The value of the flat arrays where shard `index` of n_shards begins in group g; at n_shards, the
   group's end. It is a row's first. */
size_t sp_shard_cut(const sp_params *params, size_t g, size_t index, size_t n_shards);
