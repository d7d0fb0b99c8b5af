/* How many documents and lines every unit of a corpus holds, so that units read apart from each other
   know their documents' numbers. */
#pragma once

#include "base/status.h"
#include "mpi/world.h"
#include "run/blocks.h"
#include "run/corpus.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_unit_counts {
    uint64_t *first_document; /* [n_units + 1], owned: of each unit; the last is their number */
    uint64_t *lines_before; /* [n_units], owned: in its file, as sp_unit_reader_open() wants them */
} sp_unit_counts;           /* all zero: none */

/* Collective over `world`. Counts the documents of all units, shared by the ranks: those of a .parquet
   by its footer, others by reading them. Progress is shown as `what`. Errors as
   sp_unit_reader_next(), of the first unit that has one; nothing is logged of what is skipped. */
SP_NODISCARD sp_status sp_unit_counts_create(sp_unit_counts *counts, sp_world *world,
                                             sp_corpus *corpus, const sp_blocks *blocks,
                                             const char *what);
void sp_unit_counts_free(sp_unit_counts *counts);
