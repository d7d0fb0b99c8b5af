/* Are the trained weights the bits that they should be? What changes by itself is a flipped bit in a
   machine's memory, or our mistake.

       note()    when a step begins and all values are gathered
       ...       forward and backward, which only read values
       verify()  before the update, which writes them

   Each parameter's values are hashed (XXH3-64). What changed between note and verify is the fault of
   the rank that sees it. Then the hashes are compared over the replicas, which hold the same values
   once they are gathered: where three or more hold a parameter, the majority is believed; of two,
   nobody can tell which is wrong. An update spreads a shard as it is, flipped bits too, so what
   happens between a verify and the next note is not found. */
#pragma once

#include "chain/params.h"
#include "mpi/grid.h"

typedef struct sp_replicas {
    const sp_grid *grid;     /* borrowed */
    const sp_params *params; /* borrowed */
    /* [3 n_entries], owned: each parameter's; the same, inverted; as they were noted */
    uint64_t *hashes;
    uint64_t *of_one; /* [2 n_ranks], owned: hash and rank, of one parameter everywhere */
    bool is_noted;
} sp_replicas; /* all zero: empty */

/* Local. Prepares to check `params`, which the ranks of a data group declare alike. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_replicas_create(sp_replicas *replicas, const sp_grid *grid,
                                          const sp_params *params);
void sp_replicas_free(sp_replicas *replicas);

/* Local. Remembers the values' hashes. Allocates nothing. */
void sp_replicas_note(sp_replicas *replicas);

/* Collective over the world: two agreements, an all_reduce of 16 bytes a parameter over each data
   group, and where hashes differ an all_gather. Compares with the note, if there is one, which is
   forgotten then, and over the replicas. SP_NUMERIC on each rank: the message names a parameter, and
   the ranks and hosts whose values are not as they should be. */
SP_NODISCARD sp_status sp_replicas_verify(sp_replicas *replicas);
