/* Journals: what one writer has tokenized so far, safe against being killed at any moment.

   A corpus is cut into blocks of contiguous input, in its order. A writer appends the blocks that
   it takes, each whole, to a journal of its own; when all blocks are done, each journal becomes a
   part of the token file (io/tokens_part.h), whose numbers count over the whole file and are known
   only then. An HDF5 file that was not closed may be unreadable; a journal is only ever appended
   to.

       head    "SPTOKJN1", u32 version, u32 n_bytes; the text of the job [n_bytes]; u64 hash
       frame   u32 kind, u32 packed_bytes, u32 raw_bytes, u32 0, u64 hash of the payload,
               u64 hash of these 24 bytes, seeded by the frame's offset; the payload [packed_bytes]
         kind 1, contents  zstd: records of documents, each with its segments behind it
         kind 2, block     plain: the block's counts; with it the block is complete

   Numbers are little-endian, hashes XXH3-64. All of a block's other frames are on disk before its
   kind 2 is written, and that is on disk when the call returns. What follows the last complete
   block does not count and is cut off by the next writer. Memory: some MB. No HDF5 is involved;
   calls for different journals may run at once. */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"
#include "io/tokens_schema.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is tokenized, and how: a journal of another job is refused. */
typedef struct sp_tokens_job {
    /* A text that stands for the input, its cut into blocks and what else decides the contents,
       such as a digest. */
    const char *work;
    size_t segment_tokens;
    const sp_tokens_stream *streams; /* [n_streams], borrowed; the first one cuts */
    size_t n_streams;
} sp_tokens_job;

/* Identity of a job. */
SP_NODISCARD sp_status sp_tokens_job_digest(char digest[SP_DIGEST_HEX_SIZE],
                                            const sp_tokens_job *job);

/* What a caller counts of a block beside its contents, such as documents left out: numbers whose
   meaning is the caller's. */
enum { SP_TOKENS_N_TALLIES = 16 };

/* A complete block. */
typedef struct sp_tokens_block {
    uint64_t index; /* in the corpus, from 0 */
    uint64_t n_documents, n_segments, n_ids[SP_TOKENS_MAX_STREAMS];
    uint64_t longest_id; /* bytes, of its documents' */
    uint64_t n_contents; /* bytes of all its records */
    uint64_t begin;      /* offset of its first frame */
    uint64_t tallies[SP_TOKENS_N_TALLIES];
} sp_tokens_block;

/* ---- writing ---- */

typedef struct sp_journal_writer sp_journal_writer; /* opaque */

/* Opens the journal `path` to append to it, or begins it; the job is copied. SP_FAILURE: another
   process writes it; SP_BAD_DATA: it is no journal, or of another job; SP_IO: cannot be opened or
   written. */
SP_NODISCARD sp_status sp_journal_writer_open(sp_journal_writer **writer, const char *path,
                                              const sp_tokens_job *job);

/* Gives up a block that is not complete, and releases the writer; NULL is fine. */
void sp_journal_writer_close(sp_journal_writer *writer);

/* The blocks that were complete when it was opened: *blocks [return value], borrowed until
   close. */
size_t sp_journal_writer_blocks(const sp_journal_writer *writer, const sp_tokens_block **blocks);

/* Begins block `index`. Its documents, then each one's segments, follow in order. */
SP_NODISCARD sp_status sp_journal_writer_begin(sp_journal_writer *writer, uint64_t index);

/* As sp_tokens_writer_document() and sp_tokens_writer_segment(). */
SP_NODISCARD sp_status sp_journal_writer_document(sp_journal_writer *writer, const char *id,
                                                  uint64_t hash);
SP_NODISCARD sp_status sp_journal_writer_segment(sp_journal_writer *writer, uint64_t byte_begin,
                                                 uint32_t byte_len, const int32_t *const *ids,
                                                 const size_t *n_ids);

/* Completes the block, with tallies [SP_TOKENS_N_TALLIES] (NULL: all 0): it is on disk when this
   returns. */
SP_NODISCARD sp_status sp_journal_writer_end(sp_journal_writer *writer, const uint64_t *tallies);

/* ---- reading ---- */

typedef struct sp_journal sp_journal; /* opaque */

/* Opens the journal `path` to read its complete blocks. Errors as of the writer. */
SP_NODISCARD sp_status sp_journal_open(sp_journal **journal, const char *path,
                                       const sp_tokens_job *job);
void sp_journal_close(sp_journal *journal); /* NULL is fine */

/* Its complete blocks, in the order of their completion: *blocks [return value], borrowed. */
size_t sp_journal_blocks(const sp_journal *journal, const sp_tokens_block **blocks);

/* Goes to a block's first record. */
SP_NODISCARD sp_status sp_journal_seek(sp_journal *journal, const sp_tokens_block *block);

/* Reads the next record of the block; *is_end after the last. SP_BAD_DATA: damaged, with file and
   offset. */
SP_NODISCARD sp_status sp_journal_next(sp_journal *journal, sp_tokens_record *record, bool *is_end);
