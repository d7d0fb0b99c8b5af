/* Identity of what a corpus' blocks hold: of the files' names, sizes and times of change, of the
   column, and of the conditions under which a document is taken. What was found out about a block
   holds for as long as its digest is the same. Whether damage is skipped is no part of it: where none
   was, both ways lead to the same. */
#pragma once

#include "base/status.h"
#include "run/blocks.h"
#include "run/corpus.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct sp_block_digest {
    uint64_t half[2];
} sp_block_digest;

/* Local. *digests [blocks->n_blocks], owned. wants_hashes: of what is found out with the documents'
   hashes, which is another thing than without. */
SP_NODISCARD sp_status sp_block_digests(sp_block_digest **digests, const sp_corpus *corpus,
                                        const sp_blocks *blocks, bool wants_hashes);
