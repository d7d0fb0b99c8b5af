/* A journal's bytes, for its reader and its writer; the format is in io/tokens_journal.h. */
#pragma once

#include "io/tokens_journal.h"

enum {
    SP_JOURNAL_FRAME_BYTES = 1 << 20, /* most raw bytes of a frame: zstd gains little from more */
    SP_JOURNAL_CONTENTS = 1,          /* kinds of frames */
    SP_JOURNAL_BLOCK = 2,
    SP_JOURNAL_DOCUMENT_RECORD = 1, /* tags of records */
    SP_JOURNAL_SEGMENT_RECORD = 2
};

typedef struct sp_journal_frame {
    uint32_t kind, packed_bytes, raw_bytes, zero;
    uint64_t payload_hash;
    uint64_t
        hash; /* of the 24 bytes before, seeded by the offset: a frame counts in its place only */
} sp_journal_frame;

/* A frame of kind 2 holds this and n_ids[n_streams]. */
typedef struct sp_journal_counts {
    uint64_t index, n_documents, n_segments, longest_id, n_contents, begin;
    uint64_t tallies[SP_TOKENS_N_TALLIES];
} sp_journal_counts;

/* Each record begins with its tag; an id's bytes, or the streams' counts (u32) and then their ids,
   follow. */
typedef struct sp_journal_head {
    uint32_t tag, n_bytes; /* of the document's id, or of the segment's text */
    uint64_t value;        /* the document's hash, or where the segment's text begins */
} sp_journal_head;

uint64_t sp_journal_frame_hash(const sp_journal_frame *frame, uint64_t offset);

/* The journal's head for the job: *head [*n_bytes], owned. */
SP_NODISCARD sp_status sp_journal_head_make(char **head, size_t *n_bytes, const sp_tokens_job *job);

/* Holds the file's first bytes against `head`. *is_whole is false if the file is shorter and cut
   off within it. SP_BAD_DATA: no journal, or of another job. */
SP_NODISCARD sp_status sp_journal_head_check(bool *is_whole, int fd, const char *path,
                                             const char *head, size_t n_bytes);

/* The blocks that are complete, and where the last one ends. */
typedef struct sp_journal_scan {
    sp_tokens_block *blocks; /* [n], owned */
    size_t n;
    uint64_t end;
} sp_journal_scan;

/* Looks for the complete blocks from offset `begin` on; reads frames' heads alone. SP_IO: cannot be
   read. */
SP_NODISCARD sp_status sp_journal_find_blocks(sp_journal_scan *scan, int fd, const char *path,
                                              uint64_t begin, size_t n_streams);

/* Reads n_bytes at an offset; *is_whole is false if the file ends before. */
SP_NODISCARD sp_status sp_journal_pread(bool *is_whole, int fd, const char *path, void *out,
                                        size_t n_bytes, uint64_t offset);
