/* Token files in parts: from the journals of several writers to one logical file.

       corpus.h5                              the index: a token file (io/tokens_file.h); its
                                              datasets are virtual ones over the parts, /sources
                                              apart, with the attributes `job_digest`, `summary`
                                              and `part_digest:NAME` for each part
       corpus.parts/part-0003-1f3a9c2e.h5     what writer 3 made of its journal: the same datasets,
                                              its blocks one behind the other, with the attributes
                                              `digest` and `digest_sum` of these documents
       corpus.parts/part-0003-1f3a9c2e.journal  until the file is there (io/tokens_journal.h)

   The digits are the job's, so that a run whose index is in use is not harmed by the next one.
   Where one writer did all, corpus.h5 is a plain file without parts.

   Names in the index are relative to its folder, so file and folder can be moved together, and
   h5py, h5dump and others see one file. Numbers in parts are those of the whole file: /segments/doc
   counts all documents, offsets[i] is where the segment ends in the whole stream (the index's row 0
   is 0). Each dataset of the index is the same for any number of writers and any order of their
   work.

   The steps, each of which can be repeated after a kill: writers tokenize blocks into their
   journals; when all blocks are there, every process makes the same plan from all journals; parts
   are written, by any process each; one process writes the index, and removes the journals.
   Whatever is there under its final name is whole. */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"
#include "io/tokens_journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The path of a writer's journal beside the token file `output`: *path, owned. */
SP_NODISCARD sp_status sp_tokens_journal_path(char **path, const char *output,
                                              const sp_tokens_job *job, size_t writer);

/* Creates the folder for journals and parts; one that is there is fine. SP_USAGE: a name with '%',
   which HDF5 keeps for itself in names of parts. */
SP_NODISCARD sp_status sp_tokens_parts_create(const char *output);

typedef struct sp_tokens_plan sp_tokens_plan; /* opaque: what lies where */

/* Local. Reads which of the blocks [0, n_blocks) the job's journals beside `output` hold, into *plan,
   to be destroyed. `job` is borrowed until then. Processes that see the same files make the same
   plan. A missing folder holds no journals. SP_BAD_DATA: a block beyond. */
SP_NODISCARD sp_status sp_tokens_plan_create(sp_tokens_plan **plan, const char *output,
                                             const sp_tokens_job *job, size_t n_blocks);
void sp_tokens_plan_destroy(sp_tokens_plan *plan); /* NULL is fine */

bool sp_tokens_plan_has(const sp_tokens_plan *plan, size_t block);

/* Sums over the blocks that are there: [SP_TOKENS_N_TALLIES], borrowed. */
const uint64_t *sp_tokens_plan_tallies(const sp_tokens_plan *plan);

/* Settles where everything goes. SP_BAD_DATA: a block is missing. What is below comes after it. */
SP_NODISCARD sp_status sp_tokens_plan_settle(sp_tokens_plan *plan);

size_t sp_tokens_plan_n_parts(const sp_tokens_plan *plan);    /* those without a block included */
bool sp_tokens_plan_has_one_part(const sp_tokens_plan *plan); /* with blocks */
uint64_t sp_tokens_plan_n_documents(const sp_tokens_plan *plan);
uint64_t sp_tokens_plan_n_segments(const sp_tokens_plan *plan);
uint64_t sp_tokens_plan_n_ids(const sp_tokens_plan *plan, size_t stream);

/* Local. Writes part `part` [sp_tokens_plan_n_parts()] from its journal. Different parts may be
   written at once. SP_BAD_DATA: the journal is damaged, with file and offset. */
SP_NODISCARD sp_status sp_tokens_part_write(const sp_tokens_plan *plan, size_t part);

/* Local, in one process, after all parts are written: writes the index `output`, with `sources` [n]
   as its rows of /sources, and a text of the caller's to be found again by sp_tokens_find_done().
   Parts of an index that was there before, and which are none of these, are removed. SP_BAD_DATA: a
   part is not what the plan says, or there is no segment; SP_FAILURE: the summary has more than 2,047 bytes. */
SP_NODISCARD sp_status sp_tokens_index_write(const sp_tokens_plan *plan,
                                             const sp_tokens_source *sources, size_t n_sources,
                                             const char *summary);

/* The same without parts, from the journal of a plan that has one part with blocks: `output` is a
   plain file. */
SP_NODISCARD sp_status sp_tokens_plain_write(const sp_tokens_plan *plan,
                                             const sp_tokens_source *sources, size_t n_sources,
                                             const char *summary);

/* Is `output` there, and made of this very job? Then nothing is to be done, and *summary, owned, is
   what it was given; else NULL. Of parts it is only seen that they are there. */
SP_NODISCARD sp_status sp_tokens_find_done(char **summary, const char *output,
                                           const sp_tokens_job *job);

/* Removes the journals, of this and other jobs, and the folder if it is empty: after the file is
   there. */
SP_NODISCARD sp_status sp_tokens_journals_remove(const char *output);
