#include "chain/chain.h"

sp_status sp_chain_append(sp_chain *chain, sp_block *block) {
    if (chain->n_blocks == SP_MAX_BLOCKS) {
        if (block != NULL) block->kind->destroy(block);
        return sp_fail(SP_FAILURE, "a chain of more than %d blocks", (int)SP_MAX_BLOCKS);
    }
    chain->blocks[chain->n_blocks++] = block;
    return SP_OK;
}

double sp_chain_training_flop(const sp_chain *chain, const sp_batch *batch) {
    double flop = 0;
    for (size_t i = 0; i < chain->n_blocks; i++) {
        if (chain->blocks[i] == NULL) continue;
        const sp_cost cost = chain->blocks[i]->kind->cost(chain->blocks[i], batch);
        flop += cost.flop_forward + cost.flop_backward;
    }
    return flop;
}

void sp_chain_destroy(sp_chain *chain) {
    for (size_t i = 0; i < chain->n_blocks; i++)
        if (chain->blocks[i] != NULL) chain->blocks[i]->kind->destroy(chain->blocks[i]);
    *chain = (sp_chain){0};
}
