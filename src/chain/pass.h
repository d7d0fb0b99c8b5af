/* Running blocks of a chain.

   A pass is one micro-batch's way through blocks [begin, end), from forward to backward: it holds
   what backward will read. A workspace is what blocks need only while they run, so one serves any
   number of passes in turn. Both are sized before the blocks run; nothing here allocates then.

   A pass need not be larger than fills the products: what is kept grows with its rows, their rate
   does not. So a larger micro-batch goes through in several passes, whose gradients add up. */
#pragma once

#include "chain/chain.h"

typedef struct sp_workspace {
    sp_arena arena; /* the two turns first, then scratch */
    /* Neighbouring blocks hand outputs or gradients on through these: block i writes y or dx to
       turns[i % 2], so what it is given may lie in the other one. */
    float *turns[2];
} sp_workspace; /* all zero: empty */

typedef struct sp_pass {
    sp_arena arena;
    const float *inputs[SP_MAX_BLOCKS + 1]; /* each block's x; behind the last one, its output */
    char *kept[SP_MAX_BLOCKS];
} sp_pass; /* all zero: empty */

/* The samples that a pass takes of a micro-batch, at least one: all of them, or fewer where these fill
   the products, as even parts as can be. sample_rows is the mean of a sample's rows over all
   products, each counting by its FLOP. */
size_t sp_pass_samples(size_t micro_batch, double sample_rows);

/* Sizes a workspace for runs of blocks [begin, end), with backward passes if is_training. What was
   in it is lost. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_workspace_reserve(sp_workspace *workspace, const sp_chain *chain,
                                            size_t begin, size_t end, const sp_batch *batch,
                                            bool is_training);
size_t sp_workspace_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch,
                          bool is_training);
void sp_workspace_release(sp_workspace *workspace);

/* Runs blocks [begin, end) on x (NULL if `begin` is a first block), keeping nothing. Returns the
   last one's output, borrowed from the workspace until its next use. */
float *sp_chain_run(const sp_chain *chain, size_t begin, size_t end, sp_batch *batch,
                    const float *x, sp_workspace *workspace);

/* Empties a pass and sizes it for blocks [begin, end) and the first one's input. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_pass_reserve(sp_pass *pass, const sp_chain *chain, size_t begin,
                                       size_t end, const sp_batch *batch);
size_t sp_pass_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch);

/* Room in the pass for the input of block `begin`, which is to be filled before forward; at most
   once for each sp_pass_reserve(). */
float *sp_pass_input(sp_pass *pass, const sp_chain *chain, size_t begin, const sp_batch *batch);

/* Runs blocks [begin, end) on x, which must live until backward. Returns the last one's output,
   borrowed from the pass. Ranges may follow each other, down to single blocks. */
float *sp_pass_forward(sp_pass *pass, const sp_chain *chain, size_t begin, size_t end,
                       sp_batch *batch, const float *x, sp_workspace *workspace);

/* Runs the backward passes of blocks [begin, end), last to first. dy, of the last one's output, may
   be overwritten; NULL behind a chain's last block. Returns dx of block `begin`, borrowed from the
   workspace until its next use but one, or NULL if that is a first block. */
float *sp_pass_backward(const sp_pass *pass, const sp_chain *chain, size_t begin, size_t end,
                        sp_batch *batch, float *dy, sp_workspace *workspace);

void sp_pass_release(sp_pass *pass);
