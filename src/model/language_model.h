/* A model by itself, as a chain: embed, layers, loss over the decoder side's rows. What `score`
   runs, and what parity tests compare. */
#pragma once

#include "chain/chain.h"
#include "model/transformer.h"

typedef struct sp_language_model {
    sp_params params; /* empty: nothing is trained */
    sp_transformer *transformer;
    sp_chain chain;
} sp_language_model; /* all zero: empty */

/* Makes the chain over `weights` (borrowed; SP_WEIGHTS_ALL). */
SP_NODISCARD sp_status sp_language_model_create(sp_language_model *model,
                                                const sp_weights *weights);
void sp_language_model_destroy(sp_language_model *model);

/* Appends the embedding and layers of `transformer` over one side's rows to a chain, those that are
   here; has_input as for sp_embed_block_create(). */
SP_NODISCARD sp_status sp_chain_append_layers(sp_chain *chain, const sp_transformer *transformer,
                                              sp_side side, bool has_input);

/* Appends the loss over one side's rows, if it is here. */
SP_NODISCARD sp_status sp_chain_append_loss(sp_chain *chain, const sp_transformer *transformer,
                                            sp_side side);
