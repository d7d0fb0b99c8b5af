/* What a survey keeps of one block of the corpus, as a file: how many documents each unit has, and the
   hashes of their texts, by which duplicates are found.

       head     magic, digest of what was surveyed, counts, checksum of all that follows
       units    [n_units]
       records  [n_records]  rising by hash, then by document

   Numbers are as this machine has them: the file is read back by the job that wrote it. */
#pragma once

#include "base/status.h"
#include "io/mapping.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_survey_unit {
    uint64_t n_documents; /* all of them: wanted or not, lost, empty */
    uint64_t n_lines;     /* of a .jsonl or .txt */
} sp_survey_unit;

/* A document with text that is wanted. */
typedef struct sp_survey_record {
    uint64_t high, low; /* XXH3-128 of its text */
    uint64_t document;  /* counted in the block, from 0 */
} sp_survey_record;

typedef struct sp_survey_block {
    const sp_survey_unit *units; /* [n_units] */
    size_t n_units;
    const sp_survey_record *records; /* [n_records] */
    size_t n_records;
    bool has_losses;    /* damage was skipped */
    sp_mapping mapping; /* owned, of the file; none in a block that is to be written */
} sp_survey_block;

/* Orders records by hash, then by document; for qsort(). */
int sp_survey_record_compare(const void *a, const void *b);

/* Writes the file `path`, atomically. Records are in order. */
SP_NODISCARD sp_status sp_survey_block_write(const char *path, const uint64_t digest[2],
                                             const sp_survey_block *block);

/* Opens the file into *block, to be released by sp_survey_block_close(). SP_IO: cannot be opened;
   SP_BAD_DATA: not such a file, or of another digest or number of units. */
SP_NODISCARD sp_status sp_survey_block_open(sp_survey_block *block, const char *path,
                                            const uint64_t digest[2], size_t n_units);
void sp_survey_block_close(sp_survey_block *block); /* an empty one is fine */

/* Reads all of an open block. SP_BAD_DATA: it is not what was written. */
SP_NODISCARD sp_status sp_survey_block_check(const sp_survey_block *block, const char *path);
