/* The ways in which a model's last hidden states leave it, as blocks behind its layers.

   take   the final norm of the rows that the batch takes, one for each slot: the memory,
          [n_taken, d_model]
   pool   the mean, after the final norm, of the rows that the batch takes for each slot: likewise
          [n_taken, d_model]
   merge  a product of the same rows, after the final norm and side by side, those that a shorter chunk
          lacks as zeros: the o-th goes through columns [o d_model, (o + 1) d_model) of its weight
   loss   the final norm and output head at the rows that have a target, fused with the losses:
          no rows leave; the batch gets its sums

   Take and loss gather rows before the norm, so nothing is computed for the others; pool's and
   merge's slots cover a segment's rows, so they norm all. */
#pragma once

#include "chain/chain.h"
#include "model/layer.h"

/* Each makes a block of what it borrows into *block, owned. */
SP_NODISCARD sp_status sp_take_block_create(sp_block **block, const sp_model_config *config,
                                            const sp_norm *norm, sp_side side);
SP_NODISCARD sp_status sp_pool_block_create(sp_block **block, const sp_model_config *config,
                                            const sp_norm *norm, sp_side side);
/* linear: [d_model, n d_model], where slots have at most n rows. */
SP_NODISCARD sp_status sp_merge_block_create(sp_block **block, const sp_model_config *config,
                                             const sp_norm *norm, const sp_adapted_linear *linear,
                                             sp_side side);
SP_NODISCARD sp_status sp_loss_block_create(sp_block **block, const sp_model_config *config,
                                            const sp_norm *norm, const sp_linear *head,
                                            sp_side side);
