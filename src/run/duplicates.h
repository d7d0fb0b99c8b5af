/* Which documents of a corpus repeat an earlier one's text, byte for byte (by XXH3-128): of those with
   one text the first in input order stays. Documents without text, those left out by a condition and
   those lost are none.

   Hashes are dealt by their value into parts, of which ranks take one after the other from a queue: a
   part's records of all blocks are read from the survey's files, in which they lie together, and
   sorted. Memory, on each rank, does not depend on the corpus but for one bit a document: at most
   56 MB for the part at hand, and 0.125 MB per million documents. The survey's folder holds 24 MB
   per million, and in the end the bits, which a run that was interrupted takes as they are. */
#pragma once

#include "base/status.h"
#include "mpi/world.h"
#include "run/survey.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_duplicates sp_duplicates; /* opaque */

/* Collective over `world`. Finds them by a survey with hashes into *duplicates on every rank, to be
   released by sp_duplicates_close(). part_records 0: 1 million; else how many records a part is to
   have. SP_IO: the folder cannot be read or written; SP_BAD_DATA: what is in it was changed. */
SP_NODISCARD sp_status sp_duplicates_open(sp_duplicates **duplicates, sp_world *world,
                                          const sp_survey *survey, size_t part_records);
void sp_duplicates_close(sp_duplicates *duplicates); /* NULL is fine */

/* Local. Does the document with this number repeat an earlier one? */
bool sp_duplicates_has(const sp_duplicates *duplicates, uint64_t document);

uint64_t sp_duplicates_count(const sp_duplicates *duplicates);

/* Were they found by an earlier run? */
bool sp_duplicates_were_found(const sp_duplicates *duplicates);
