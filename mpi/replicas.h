/* Are the replicas' trained weights the same bits? They are updated alike, so a difference is a flipped
   bit in a machine's memory, or our mistake.

   Each parameter's values are hashed on each rank (XXH3-64), the hashes are compared. Where three or
   more hold a parameter, the majority is believed; of two, nobody can tell which is wrong. */
#pragma once

#include "chain/params.h"
#include "mpi/grid.h"

typedef struct sp_replicas {
    const sp_grid *grid;     /* borrowed */
    const sp_params *params; /* borrowed */
    uint64_t *hashes;        /* [2 n_entries], owned: each parameter's; the same, inverted */
    uint64_t *of_one;        /* [2 n_ranks], owned: hash and rank, of one parameter everywhere */
} sp_replicas;               /* all zero: empty */

/* Local. Prepares to compare the ranks of a data group, which declare the same parameters. SP_FAILURE:
   no memory. */
SP_NODISCARD sp_status sp_replicas_create(sp_replicas *replicas, const sp_grid *grid,
                                          const sp_params *params);
void sp_replicas_free(sp_replicas *replicas);

/* Collective over the data group: an all_reduce of 16 bytes a parameter, and where hashes differ
   an all_gather. SP_NUMERIC on each of them: the message names a parameter, and the ranks and hosts
   whose values differ. */
SP_NODISCARD sp_status sp_replicas_verify(sp_replicas *replicas);
