/* The first rows of a model, as a block: token embeddings, trained special rows, and rows that the
   block before it made.

       y[r] = table[id] + s B A[:, id]   id >= 0, a token; A and B where it is adapted (LoRA)
            = special[-1 - id]           the first n_special of the negative ids: memory tokens or
                                         markers
            = x[-1 - id - n_special]     beyond: slots
       y[r] += positions[position]       where positions are learned

   What is adapted is the look-up alone: an output head over the same table is not. */
#pragma once

#include "chain/chain.h"
#include "chain/params.h"
#include "tensor/tensor.h"

typedef struct sp_embedding {
    const sp_tensor *frozen; /* [vocab_size, d_model], borrowed; NULL where it is trained */
    sp_param *trained;
    const sp_tensor *frozen_positions; /* [n_positions, d_model], borrowed; NULL: trained or none */
    sp_param *trained_positions;
    sp_param *lora_a, *lora_b; /* [rank, vocab_size], [d_model, rank], as PEFT has them; or NULL */
    float lora_scale;
    sp_param *special; /* [n_special, d_model], or NULL for none */
    size_t d_model;
} sp_embedding;

/* Makes the block of `embedding` (borrowed) over the rows of one side into *block, owned.
   has_input: x comes from a block before, one row for each row that the batch takes. */
SP_NODISCARD sp_status sp_embed_block_create(sp_block **block, const sp_embedding *embedding,
                                             sp_side side, bool has_input);

/* Rows by themselves, for inference without a chain. */
typedef struct sp_embed_rows {
    const int32_t *ids;        /* [n_rows] */
    const uint32_t *positions; /* [n_rows] */
    size_t n_rows;
    const float *x; /* [.., d_model] the rows beyond the special ones, or NULL */
} sp_embed_rows;

/* Writes y [n_rows, d_model]. Scratch: sp_embed_scratch_bytes(). */
void sp_embed(const sp_embedding *embedding, float *y, const sp_embed_rows *rows,
              sp_arena *scratch);
size_t sp_embed_scratch_bytes(const sp_embedding *embedding, size_t n_rows);
