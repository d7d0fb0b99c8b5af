/* A transformer layer as a block of the chain. */
#pragma once

#include "chain/chain.h"
#include "model/layer.h"

/* Makes the block of `layer` (borrowed) over the rows of one side into *block, owned. */
SP_NODISCARD sp_status sp_layer_block_create(sp_block **block, const sp_layer *layer, sp_side side);
