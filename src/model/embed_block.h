/* The first rows of a model, as a block: token embeddings, trained special rows, and rows that the
   block before it made.

       y[r] = table[id]           id >= 0, a token
            = special[-1 - id]    the first n_special of the negative ids: memory tokens or markers
            = x[-1 - id - n_special]   beyond: slots */
#pragma once

#include "chain/chain.h"
#include "chain/params.h"
#include "tensor/tensor.h"

typedef struct sp_embedding {
    const sp_tensor *frozen; /* [vocab_size, d_model], borrowed; NULL where it is trained */
    sp_param *trained;
    sp_param *special; /* [n_special, d_model], or NULL for none */
    size_t d_model;
} sp_embedding;

/* Makes the block of `embedding` (borrowed) over the rows of one side into *block, owned.
   has_input: x comes from a block before, one row for each row that the batch takes. */
SP_NODISCARD sp_status sp_embed_block_create(sp_block **block, const sp_embedding *embedding,
                                             sp_side side, bool has_input);

/* Writes the rows themselves, for inference without a chain: y [n_rows, d_model]; x [.., d_model]
   are the rows beyond the special ones, or NULL. */
void sp_embed_rows(const sp_embedding *embedding, float *y, const int32_t *ids, size_t n_rows,
                   const float *x);
