/* The chain of blocks: all that is ever trained or run.

       encoder embed -> encoder layers -> final norm + take memory -> converter
           -> splice into decoder input -> decoder layers -> final norm + loss

   A block turns rows [n_in_rows, n_in] into rows [n_out_rows, n_out]; how many there are follows
   from the batch. It has forward, backward, its parameters and a cost, and nothing else. Matrices
   are row-major f32 without padding.

   A rank may hold some blocks of a chain only: those that live elsewhere are NULL, and every block
   keeps its index in the whole. pass.h runs blocks; cut.h shares them out. */
#pragma once

#include "base/memory.h"
#include "chain/batch.h"

typedef struct sp_cost {
    double flop_forward, flop_backward; /* multiply and add are two */
    size_t bytes_kept;                  /* from forward to backward, beside the block's output */
    size_t bytes_scratch;               /* during forward or backward, whichever is more */
} sp_cost;

typedef struct sp_block sp_block;

typedef struct sp_block_kind {
    const char *name;
    size_t (*n_in_rows)(const sp_block *block, const sp_batch *batch);
    size_t (*n_out_rows)(const sp_block *block, const sp_batch *batch);
    sp_cost (*cost)(const sp_block *block, const sp_batch *batch);
    /* Writes y from x. `kept` has bytes_kept, for the backward pass; it is there in inference too,
       but is then dropped at once. `scratch` has room for bytes_scratch. */
    void (*forward)(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch);
    /* Writes dx from dy, and adds to the parameters' gradients. x and `kept` are forward's. dy may
       be overwritten. dx is NULL for a chain's first block. */
    void (*backward)(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch);
    void (*destroy)(sp_block *block);
    bool can_recompute; /* forward changes nothing but y, kept and scratch, so it may run again */
} sp_block_kind;

/* The head of every block's own struct. */
struct sp_block {
    const sp_block_kind *kind; /* static */
    size_t n_in, n_out;        /* row widths; n_in is 0 for a first block, n_out for a last one */
};

enum { SP_MAX_BLOCKS = 1024 };

typedef struct sp_chain {
    sp_block *blocks[SP_MAX_BLOCKS]; /* [n_blocks], owned; NULL: not here */
    size_t n_blocks;
    /* Blocks whose kept bytes are not kept, but made again by another forward before backward. */
    bool recomputes[SP_MAX_BLOCKS];
} sp_chain;

/* Appends a block, or NULL for one that is not here. It becomes the chain's, also on failure.
   SP_FAILURE: too many blocks. */
SP_NODISCARD sp_status sp_chain_append(sp_chain *chain, sp_block *block);

/* FLOP of a training pass of the blocks that are here over the batch: the chain's own arithmetic,
   no recomputation. */
double sp_chain_training_flop(const sp_chain *chain, const sp_batch *batch);

void sp_chain_destroy(sp_chain *chain);
