#include "io/tokens_journal_frame.h"

#include "base/memory.h"
#include "io/tokens_header.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

static const char magic[] = "SPTOKJN1";
enum { MAGIC_BYTES = sizeof magic - 1, VERSION = 1 };

uint64_t sp_journal_frame_hash(const sp_journal_frame *frame, uint64_t offset) {
    return XXH3_64bits_withSeed(frame, offsetof(sp_journal_frame, hash), offset);
}

sp_status sp_journal_pread(bool *is_whole, int fd, const char *path, void *out, size_t n_bytes,
                           uint64_t offset) {
    for (char *to = out; n_bytes > 0;) {
        const ssize_t n = pread(fd, to, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sp_fail(SP_IO, "cannot read '%s': %s", path, strerror(errno));
        if (n == 0) break;
        to += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    *is_whole = n_bytes == 0;
    return SP_OK;
}

/* ---- the head ---- */

sp_status sp_journal_head_make(char **head, size_t *n_bytes, const sp_tokens_job *job) {
    char *text = NULL, *made = NULL;
    size_t text_len = 0, made_len = 0;
    SP_TRY(sp_tokens_header(&text, &text_len, job->segment_tokens, job->streams, job->n_streams));
    FILE *to = open_memstream(&made, &made_len);
    if (to != NULL) {
        const uint32_t numbers[] = {VERSION, (uint32_t)(strlen(job->work) + 6 + text_len)};
        fwrite(magic, 1, MAGIC_BYTES, to);
        fwrite(numbers, sizeof numbers, 1, to);
        fprintf(to, "work %s\n", job->work);
        fwrite(text, 1, text_len, to);
        fflush(to);
        const uint64_t hash = XXH3_64bits(made, made_len);
        fwrite(&hash, sizeof hash, 1, to);
    }
    free(text);
    if (to == NULL || fclose(to) != 0) {
        if (to != NULL) free(made);
        return sp_fail(SP_FAILURE, "no memory for a journal");
    }
    *head = made;
    *n_bytes = made_len;
    return SP_OK;
}

sp_status sp_tokens_job_digest(char digest[SP_DIGEST_HEX_SIZE], const sp_tokens_job *job) {
    char *head = NULL;
    size_t n_bytes = 0;
    SP_TRY(sp_journal_head_make(&head, &n_bytes, job));
    sp_digest_bytes(digest, head, n_bytes);
    free(head);
    return SP_OK;
}

sp_status sp_journal_head_check(bool *is_whole, int fd, const char *path, const char *head,
                                size_t n_bytes) {
    struct stat info;
    if (fstat(fd, &info) != 0) return sp_fail(SP_IO, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return sp_fail(SP_BAD_DATA, "'%s': not a regular file", path);
    const size_t n = (uint64_t)info.st_size < n_bytes ? (size_t)info.st_size : n_bytes;
    char *read = malloc(n_bytes);
    if (read == NULL) return sp_fail(SP_FAILURE, "no memory: %zu bytes for '%s'", n_bytes, path);
    bool is_there = false;
    sp_status status = sp_journal_pread(&is_there, fd, path, read, n, 0);
    if (status == SP_OK && memcmp(read, magic, n < MAGIC_BYTES ? n : MAGIC_BYTES) != 0)
        status = sp_fail(SP_BAD_DATA, "'%s': not a journal of tokens", path);
    else if (status == SP_OK && memcmp(read, head, n) != 0)
        status = sp_fail(SP_BAD_DATA,
                         "'%s': of another run: its input, tokenizers or length of a segment "
                         "differ; finish that run, or remove the file",
                         path);
    free(read);
    if (status == SP_OK) *is_whole = n == n_bytes;
    return status;
}

/* ---- the frames ---- */

/* Reads the head of the frame at `offset`; *is_frame is false where none is, whole and in its
   place. */
static sp_status read_frame(bool *is_frame, sp_journal_frame *frame, int fd, const char *path,
                            uint64_t offset, uint64_t file_bytes) {
    *is_frame = false;
    if (file_bytes - offset < sizeof *frame) return SP_OK;
    SP_TRY(sp_journal_pread(is_frame, fd, path, frame, sizeof *frame, offset));
    *is_frame = *is_frame && frame->hash == sp_journal_frame_hash(frame, offset) &&
                frame->packed_bytes <= file_bytes - offset - sizeof *frame &&
                frame->raw_bytes <= SP_JOURNAL_FRAME_BYTES;
    return SP_OK;
}

static sp_status add_block(sp_journal_scan *scan, const sp_journal_counts *counts,
                           const uint64_t *n_ids, size_t n_streams) {
    if (scan->n % 64 == 0) {
        sp_tokens_block *grown = realloc(scan->blocks, (scan->n + 64) * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu blocks", scan->n + 64);
        scan->blocks = grown;
    }
    sp_tokens_block *added = &scan->blocks[scan->n++];
    *added = (sp_tokens_block){.index = counts->index,
                               .n_documents = counts->n_documents,
                               .n_segments = counts->n_segments,
                               .longest_id = counts->longest_id,
                               .n_contents = counts->n_contents,
                               .begin = counts->begin};
    memcpy(added->tallies, counts->tallies, sizeof added->tallies);
    memcpy(added->n_ids, n_ids, n_streams * sizeof *n_ids);
    return SP_OK;
}

/* Every document and segment has a record, and a frame no more than its bytes: so memory for them
   is in proportion to the file. */
static bool has_fair_counts(const sp_journal_counts *counts, uint64_t end) {
    const uint64_t n_frames = (end - counts->begin) / sizeof(sp_journal_frame);
    const uint64_t n_records = counts->n_contents / sizeof(sp_journal_head);
    return counts->n_contents / SP_JOURNAL_FRAME_BYTES <= n_frames &&
           counts->n_documents <= n_records && counts->n_segments <= n_records &&
           counts->longest_id <= SP_TOKENS_MAX_ID;
}

/* Takes the block whose last frame lies at `offset`, if it is whole and belongs there. */
static sp_status take_block(bool *is_block, sp_journal_scan *scan, const sp_journal_frame *frame,
                            int fd, const char *path, uint64_t offset, size_t n_streams) {
    struct {
        sp_journal_counts counts;
        uint64_t n_ids[SP_TOKENS_MAX_STREAMS];
    } payload;
    const size_t n_bytes = sizeof payload.counts + n_streams * sizeof payload.n_ids[0];
    *is_block = false;
    if (frame->packed_bytes != n_bytes) return SP_OK;
    SP_TRY(sp_journal_pread(is_block, fd, path, &payload, n_bytes, offset + sizeof *frame));
    *is_block = *is_block && XXH3_64bits(&payload, n_bytes) == frame->payload_hash &&
                payload.counts.begin == scan->end && has_fair_counts(&payload.counts, offset);
    return *is_block ? add_block(scan, &payload.counts, payload.n_ids, n_streams) : SP_OK;
}

sp_status sp_journal_find_blocks(sp_journal_scan *scan, int fd, const char *path, uint64_t begin,
                                 size_t n_streams) {
    struct stat info;
    if (fstat(fd, &info) != 0) return sp_fail(SP_IO, "cannot read '%s': %s", path, strerror(errno));
    sp_journal_scan made = {.end = begin};
    sp_status status = SP_OK;
    for (uint64_t offset = begin; status == SP_OK;) {
        sp_journal_frame frame;
        bool is_good = false;
        status = read_frame(&is_good, &frame, fd, path, offset, (uint64_t)info.st_size);
        if (status != SP_OK || !is_good) break;
        if (frame.kind == SP_JOURNAL_BLOCK)
            status = take_block(&is_good, &made, &frame, fd, path, offset, n_streams);
        if (status != SP_OK || !is_good) break;
        offset += sizeof frame + frame.packed_bytes;
        if (frame.kind == SP_JOURNAL_BLOCK) made.end = offset;
    }
    if (status == SP_OK)
        *scan = made;
    else
        free(made.blocks);
    return status;
}
