/* A corpus divided: into units, which can be read apart from each other (io/text_reader.h), and those
   into blocks of neighbours, which are what ranks take from a queue of work.

   Units and blocks lie in input order and depend on the files alone, never on the number of ranks: a
   job that was interrupted goes on with any number. A block is to take 1/256 of the corpus, but at
   least 1 MB and at most 64 MB, and from there on 1/4096: few enough for one index over all of them,
   enough for ranks to share, and large enough to pay for being written by itself. What cannot be
   divided, such as a packed file, is one unit, and with it a block may be larger. */
#pragma once

#include "base/status.h"
#include "io/text_reader.h"
#include "mpi/world.h"
#include "run/corpus.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_unit {
    uint64_t file; /* of the corpus */
    sp_text_unit range;
} sp_unit;

typedef struct sp_blocks {
    sp_unit *units; /* [n_units], owned */
    size_t *begin;  /* [n_blocks + 1], owned: block b holds the units begin[b] to begin[b + 1] */
    size_t n_units, n_blocks;
    uint64_t n_bytes;      /* of all units */
    uint64_t n_lost_files; /* damage in a footer, or a column that is not there: skipped */
} sp_blocks;               /* all zero: none */

/* Collective over `world`. Divides the corpus, whose files the ranks share, into *blocks, the same on
   every rank, to be freed by sp_blocks_free(). block_bytes 0: as above; else what a block is to
   take. Errors as sp_text_units(), apart from damage that is skipped, which is logged. */
SP_NODISCARD sp_status sp_blocks_create(sp_blocks *blocks, sp_world *world, sp_corpus *corpus,
                                        uint64_t block_bytes);
void sp_blocks_free(sp_blocks *blocks);

/* Local. The bytes that a block of a corpus of n_bytes is to take. */
uint64_t sp_block_bytes(uint64_t n_bytes);

/* Local. Cuts units of n_bytes [n_units] into blocks, writes begin [n_units + 1] as far as there are
   blocks, and returns their number: each ends where it is nearest to block_bytes (at least 1). */
size_t sp_blocks_cut(size_t *begin, const sp_unit *units, size_t n_units, uint64_t block_bytes);

/* Local. Bytes of one block. */
uint64_t sp_blocks_n_bytes(const sp_blocks *blocks, size_t block);
