/* The chain of blocks: all that is ever trained or run.

       encoder embed -> encoder layers -> final norm + take memory -> converter
           -> splice into decoder input -> decoder layers -> final norm + loss

   A block turns rows [n_in_rows, n_in] into rows [n_out_rows, n_out]; how many there are follows
   from the batch. It has forward, backward, its parameters and a cost, and nothing else. Matrices
   are row-major f32 without padding. */
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
} sp_block_kind;

/* The head of every block's own struct. */

struct sp_block {
    const sp_block_kind *kind; /* static */
    size_t n_in, n_out;        /* row widths; n_in is 0 for a first block, n_out for a last one */
};

enum { SP_MAX_BLOCKS = 1024 };

typedef struct sp_chain {
    sp_block *blocks[SP_MAX_BLOCKS]; /* [n_blocks], owned */
    size_t n_blocks;
    /* Of the last forward pass with `keep`, borrowed from its arena. */
    float *outputs[SP_MAX_BLOCKS];
    char *kept[SP_MAX_BLOCKS];
} sp_chain;

/* Appends a block, which becomes the chain's (also on failure). SP_FAILURE: too many blocks. */
SP_NODISCARD sp_status sp_chain_append(sp_chain *chain, sp_block *block);

/* Bytes that a pass over blocks [begin, end) pushes onto an arena. */
size_t sp_chain_arena_bytes(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch,
                            bool keep);

/* Runs blocks [begin, end) on x (NULL if `begin` is a first block) and returns the last one's
   output, borrowed from the arena, into which everything is pushed; reserve sp_chain_arena_bytes()
   before. With `keep` a backward pass may follow. */
float *sp_chain_forward(sp_chain *chain, size_t begin, size_t end, sp_batch *batch, const float *x,
                        bool keep, sp_arena *arena);

/* Runs the backward passes of all blocks, last to first, after a forward pass of the whole chain
   with `keep` on the same arena. */
void sp_chain_backward(sp_chain *chain, sp_batch *batch, sp_arena *arena);

/* FLOP of a training pass over the batch: the chain's own arithmetic, no recomputation. */
double sp_chain_training_flop(const sp_chain *chain, const sp_batch *batch);

void sp_chain_destroy(sp_chain *chain);
