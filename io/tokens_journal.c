#include "io/tokens_journal.h"

#include "base/memory.h"
#include "io/tokens_header.h"
#include "io/tokens_journal_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

struct sp_journal {
    char *path;
    int fd;
    size_t n_streams;
    sp_journal_scan scan;
    char *raw, *packed; /* [SP_JOURNAL_FRAME_BYTES, packed_capacity], owned */
    size_t packed_capacity;
    size_t raw_begin, raw_end; /* of what is not yet taken */
    uint64_t offset;           /* of the next frame */
    uint64_t n_left;           /* bytes of records, those in `raw` included */
    bool has_document;
    char id[SP_TOKENS_MAX_ID + 1];
    int32_t *ids; /* [ids_capacity], owned: all streams' */
    size_t ids_capacity;
    const int32_t *stream_ids[SP_TOKENS_MAX_STREAMS];
    size_t n_ids[SP_TOKENS_MAX_STREAMS];
};

static sp_status allocate(sp_journal *journal) {
    void *raw = NULL, *packed = NULL;
    SP_TRY(sp_alloc(&raw, SP_JOURNAL_FRAME_BYTES, "a journal"));
    journal->raw = raw;
    journal->packed_capacity = ZSTD_compressBound(SP_JOURNAL_FRAME_BYTES);
    SP_TRY(sp_alloc(&packed, journal->packed_capacity, "a journal"));
    journal->packed = packed;
    return SP_OK;
}

static sp_status scan(sp_journal *journal, const sp_tokens_job *job) {
    char *head = NULL;
    size_t head_len = 0;
    bool is_whole = false;
    journal->n_streams = job->n_streams;
    journal->fd = open(journal->path, O_RDONLY | O_CLOEXEC);
    if (journal->fd < 0)
        return sp_fail(SP_IO, "cannot open '%s': %s", journal->path, strerror(errno));
    SP_TRY(sp_journal_head_make(&head, &head_len, job));
    sp_status status = sp_journal_head_check(&is_whole, journal->fd, journal->path, head, head_len);
    if (status == SP_OK && is_whole)
        status = sp_journal_find_blocks(&journal->scan, journal->fd, journal->path, head_len,
                                        job->n_streams);
    free(head);
    return status;
}

sp_status sp_journal_open(sp_journal **journal, const char *path, const sp_tokens_job *job) {
    SP_TRY(sp_tokens_check_streams(job->streams, job->n_streams));
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **journal, "a journal"));
    sp_journal *made = block;
    made->fd = -1;
    made->path = strdup(path);
    sp_status status = made->path == NULL ? sp_fail(SP_FAILURE, "no memory for '%s'", path) : SP_OK;
    if (status == SP_OK) status = allocate(made);
    if (status == SP_OK) status = scan(made, job);
    if (status == SP_OK)
        *journal = made;
    else
        sp_journal_close(made);
    return status;
}

void sp_journal_close(sp_journal *journal) {
    if (journal == NULL) return;
    if (journal->fd >= 0) close(journal->fd);
    free(journal->ids);
    free(journal->packed);
    free(journal->raw);
    free(journal->scan.blocks);
    free(journal->path);
    free(journal);
}

size_t sp_journal_blocks(const sp_journal *journal, const sp_tokens_block **blocks) {
    *blocks = journal->scan.blocks;
    return journal->scan.n;
}

/* ---- frames ---- */

static sp_status fail_damaged(const sp_journal *journal, uint64_t offset) {
    return sp_fail(SP_BAD_DATA,
                   "'%s', offset %ju: damaged; remove the file to tokenize its blocks anew",
                   journal->path, (uintmax_t)offset);
}

/* Unpacks the next frame, which is one of contents, to raw [*raw_bytes]. */
static sp_status load_frame(sp_journal *journal, size_t *raw_bytes) {
    const uint64_t at = journal->offset;
    sp_journal_frame frame;
    bool is_whole = false;
    SP_TRY(sp_journal_pread(&is_whole, journal->fd, journal->path, &frame, sizeof frame, at));
    if (!is_whole || frame.hash != sp_journal_frame_hash(&frame, at) ||
        frame.kind != SP_JOURNAL_CONTENTS || frame.packed_bytes > journal->packed_capacity ||
        frame.raw_bytes > SP_JOURNAL_FRAME_BYTES)
        return fail_damaged(journal, at);
    SP_TRY(sp_journal_pread(&is_whole, journal->fd, journal->path, journal->packed,
                            frame.packed_bytes, at + sizeof frame));
    if (!is_whole || XXH3_64bits(journal->packed, frame.packed_bytes) != frame.payload_hash ||
        ZSTD_decompress(journal->raw, SP_JOURNAL_FRAME_BYTES, journal->packed,
                        frame.packed_bytes) != frame.raw_bytes)
        return fail_damaged(journal, at);
    journal->offset = at + sizeof frame + frame.packed_bytes;
    *raw_bytes = frame.raw_bytes;
    return SP_OK;
}

/* ---- records ---- */

/* Takes the block's next n_bytes. */
static sp_status take(sp_journal *journal, void *out, size_t n_bytes) {
    if (n_bytes > journal->n_left) return fail_damaged(journal, journal->offset);
    journal->n_left -= n_bytes;
    for (char *to = out; n_bytes > 0;) {
        if (journal->raw_begin == journal->raw_end) {
            journal->raw_begin = 0;
            SP_TRY(load_frame(journal, &journal->raw_end));
        }
        const size_t there = journal->raw_end - journal->raw_begin;
        const size_t part = n_bytes < there ? n_bytes : there;
        memcpy(to, journal->raw + journal->raw_begin, part);
        journal->raw_begin += part;
        to += part;
        n_bytes -= part;
    }
    return SP_OK;
}

sp_status sp_journal_seek(sp_journal *journal, const sp_tokens_block *block) {
    journal->offset = block->begin;
    journal->raw_begin = journal->raw_end = 0;
    journal->n_left = block->n_contents;
    journal->has_document = false;
    return SP_OK;
}

static sp_status take_document(sp_journal *journal, sp_tokens_record *record,
                               const sp_journal_head *head) {
    if (head->n_bytes > SP_TOKENS_MAX_ID) return fail_damaged(journal, journal->offset);
    SP_TRY(take(journal, journal->id, head->n_bytes));
    journal->id[head->n_bytes] = '\0';
    journal->has_document = true;
    *record = (sp_tokens_record){.is_document = true, .id = journal->id, .hash = head->value};
    return SP_OK;
}

static sp_status reserve_ids(sp_journal *journal, size_t n) {
    if (n <= journal->ids_capacity) return SP_OK;
    int32_t *grown = realloc(journal->ids, n * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu ids", n);
    journal->ids = grown;
    journal->ids_capacity = n;
    return SP_OK;
}

static sp_status take_segment(sp_journal *journal, sp_tokens_record *record,
                              const sp_journal_head *head) {
    uint32_t counts[SP_TOKENS_MAX_STREAMS];
    size_t n_all = 0;
    SP_TRY(take(journal, counts, journal->n_streams * sizeof counts[0]));
    for (size_t s = 0; s < journal->n_streams; s++) n_all += counts[s];
    const bool is_empty = counts[0] == 0; /* no writer cuts such a segment */
    if (!journal->has_document || is_empty || n_all > journal->n_left / sizeof *journal->ids)
        return fail_damaged(journal, journal->offset);
    SP_TRY(reserve_ids(journal, n_all));
    SP_TRY(take(journal, journal->ids, n_all * sizeof *journal->ids));
    size_t n_before = 0;
    for (size_t s = 0; s < journal->n_streams; s++) {
        journal->stream_ids[s] = journal->ids + n_before;
        journal->n_ids[s] = counts[s];
        n_before += counts[s];
    }
    *record = (sp_tokens_record){.byte_begin = head->value,
                                 .byte_len = head->n_bytes,
                                 .ids = journal->stream_ids,
                                 .n_ids = journal->n_ids};
    return SP_OK;
}

sp_status sp_journal_next(sp_journal *journal, sp_tokens_record *record, bool *is_end) {
    sp_journal_head head;
    *is_end = journal->n_left == 0;
    if (*is_end) return SP_OK;
    SP_TRY(take(journal, &head, sizeof head));
    if (head.tag == SP_JOURNAL_DOCUMENT_RECORD) return take_document(journal, record, &head);
    if (head.tag == SP_JOURNAL_SEGMENT_RECORD) return take_segment(journal, record, &head);
    return fail_damaged(journal, journal->offset);
}
