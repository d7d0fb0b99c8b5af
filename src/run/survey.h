/* The first of two readings of a corpus: how many documents each unit has, so that every document has
   its number wherever it is read, and the hashes of their texts.

   A document's number counts all documents of the corpus from 0, in input order: also those without
   text, those that a condition leaves out and those lost to damage.

   Ranks take blocks from a queue. Each block's results are a file in a work folder, which all ranks
   see; it is written when the block is done, and taken as it is by the next survey of the same files,
   on any number of ranks, if this one is interrupted. A file whose size or time of change is another
   is surveyed anew, and likewise under another column, other conditions, or where damage is no
   longer skipped.

   Memory, on each rank: 48 bytes a document of the block at hand; 32 bytes a unit. */
#pragma once

#include "base/status.h"
#include "mpi/world.h"
#include "run/blocks.h"
#include "run/corpus.h"
#include "run/survey_block.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_survey sp_survey; /* opaque */

/* Collective over `world`. Surveys the corpus, or what of it is not found done in the folder `dir`,
   which is created, into *survey on every rank; to be released by sp_survey_close(). `blocks` is
   borrowed until then. Without needs_hashes only documents are counted, of Parquet by its footer
   alone. Progress goes to stderr on rank 0. SP_FAILURE: another process works in the folder; SP_STOPPED:
   a signal (run/stop_signal.h) asked for it; other
   errors as sp_unit_reader_next(). */
SP_NODISCARD sp_status sp_survey_open(sp_survey **survey, sp_world *world, sp_corpus *corpus,
                                      const sp_blocks *blocks, const char *dir, bool needs_hashes);

/* Local. The folder stays if a block's results are in it. NULL is fine. */
void sp_survey_close(sp_survey *survey);

/* Local, on rank 0, elsewhere it does nothing: removes the folder when nobody needs it any more. */
SP_NODISCARD sp_status sp_survey_remove(sp_survey *survey);

/* Local, as all that follows. The number of a unit's first document; of the unit behind the last, how
   many there are. */
uint64_t sp_survey_first_document(const sp_survey *survey, size_t unit);

/* Lines of the unit's file before it. */
uint64_t sp_survey_lines_before(const sp_survey *survey, size_t unit);

/* Blocks whose results were found done. */
size_t sp_survey_n_found(const sp_survey *survey);

const char *sp_survey_dir(const sp_survey *survey);         /* borrowed */
const sp_blocks *sp_survey_blocks(const sp_survey *survey); /* borrowed */

/* Identity of the corpus and of what is taken of it. */
void sp_survey_digest(const sp_survey *survey, uint64_t digest[2]);

/* Opens a block's results, to be released by sp_survey_block_close(). Errors as
   sp_survey_block_open(). */
SP_NODISCARD sp_status sp_survey_open_block(const sp_survey *survey, size_t block,
                                            sp_survey_block *opened);
