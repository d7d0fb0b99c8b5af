#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/tokens_header.h"
#include "io/tokens_journal_frame.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

enum { ZSTD_LEVEL = 1 }; /* halves the ids at several times a tokenizer's speed */

struct sp_journal_writer {
    char *path;
    int fd;
    char *head; /* [head_len], owned */
    size_t head_len;
    sp_tokens_stream *streams; /* [n_streams], owned, without digests */
    char *names;               /* owned: the streams' */
    size_t n_streams, segment_tokens;
    sp_journal_scan done; /* when it was opened; end: of the last complete block */
    uint64_t offset;      /* of the next frame */
    bool is_begun;
    sp_tokens_block block; /* in work */
    char *raw, *packed;    /* [SP_JOURNAL_FRAME_BYTES, packed_capacity], owned */
    size_t n_raw, packed_capacity;
};

/* ---- opening ---- */

static sp_status lock_journal(sp_journal_writer *writer) {
    writer->fd = open(writer->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (writer->fd < 0)
        return sp_fail(SP_IO, "cannot create '%s': %s", writer->path, strerror(errno));
    if (flock(writer->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return sp_fail(SP_FAILURE, "another process is writing '%s'", writer->path);
    return SP_OK;
}

static sp_status sync_journal(const sp_journal_writer *writer) {
    if (fdatasync(writer->fd) == 0) return SP_OK;
    return sp_fail(SP_IO, "cannot sync '%s': %s", writer->path, strerror(errno));
}

static sp_status cut_journal(const sp_journal_writer *writer, uint64_t n_bytes) {
    if (ftruncate(writer->fd, (off_t)n_bytes) == 0) return SP_OK;
    return sp_fail(SP_IO, "cannot shorten '%s': %s", writer->path, strerror(errno));
}

static sp_status sync_folder_of(const char *path) {
    char *copy = strdup(path);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    const sp_status status = sp_sync_path(dirname(copy));
    free(copy);
    return status;
}

static sp_status write_at_end(sp_journal_writer *writer, const void *data, size_t n_bytes) {
    if (lseek(writer->fd, (off_t)writer->offset, SEEK_SET) < 0)
        return sp_fail(SP_IO, "cannot write '%s': %s", writer->path, strerror(errno));
    SP_TRY(sp_write_all(writer->fd, data, n_bytes, writer->path));
    writer->offset += n_bytes;
    return SP_OK;
}

static sp_status begin_journal(sp_journal_writer *writer) {
    SP_TRY(cut_journal(writer, 0));
    writer->offset = 0;
    SP_TRY(write_at_end(writer, writer->head, writer->head_len));
    writer->done.end = writer->head_len;
    SP_TRY(sync_journal(writer));
    return sync_folder_of(writer->path);
}

static sp_status resume_journal(sp_journal_writer *writer) {
    bool is_whole = false;
    SP_TRY(
        sp_journal_head_check(&is_whole, writer->fd, writer->path, writer->head, writer->head_len));
    if (!is_whole) return begin_journal(writer);
    SP_TRY(sp_journal_find_blocks(&writer->done, writer->fd, writer->path, writer->head_len,
                                  writer->n_streams));
    writer->offset = writer->done.end;
    return cut_journal(writer, writer->done.end);
}

static sp_status copy_streams(sp_journal_writer *writer, const sp_tokens_job *job) {
    void *block = NULL, *names = NULL;
    SP_TRY(sp_alloc_array(&block, job->n_streams, sizeof *writer->streams, "streams"));
    writer->streams = block;
    SP_TRY(sp_alloc_array(&names, job->n_streams, SP_STREAM_NAME_SIZE, "streams"));
    writer->names = names;
    for (size_t s = 0; s < job->n_streams; s++) {
        char *name = writer->names + s * SP_STREAM_NAME_SIZE;
        strcpy(name, job->streams[s].name); /* its length is checked */
        writer->streams[s] =
            (sp_tokens_stream){.name = name, .vocab_size = job->streams[s].vocab_size};
    }
    writer->n_streams = job->n_streams;
    writer->segment_tokens = job->segment_tokens;
    return SP_OK;
}

static sp_status allocate(sp_journal_writer *writer) {
    void *raw = NULL, *packed = NULL;
    SP_TRY(sp_alloc(&raw, SP_JOURNAL_FRAME_BYTES, "a journal"));
    writer->raw = raw;
    writer->packed_capacity = ZSTD_compressBound(SP_JOURNAL_FRAME_BYTES);
    SP_TRY(sp_alloc(&packed, writer->packed_capacity, "a journal"));
    writer->packed = packed;
    return SP_OK;
}

sp_status sp_journal_writer_open(sp_journal_writer **writer, const char *path,
                                 const sp_tokens_job *job) {
    SP_TRY(sp_tokens_check_streams(job->streams, job->n_streams));
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **writer, "a journal"));
    sp_journal_writer *made = block;
    made->fd = -1;
    made->path = strdup(path);
    sp_status status = made->path == NULL ? sp_fail(SP_FAILURE, "no memory for '%s'", path) : SP_OK;
    if (status == SP_OK) status = copy_streams(made, job);
    if (status == SP_OK) status = allocate(made);
    if (status == SP_OK) status = sp_journal_head_make(&made->head, &made->head_len, job);
    if (status == SP_OK) status = lock_journal(made);
    if (status == SP_OK) status = resume_journal(made);
    if (status == SP_OK)
        *writer = made;
    else
        sp_journal_writer_close(made);
    return status;
}

void sp_journal_writer_close(sp_journal_writer *writer) {
    if (writer == NULL) return;
    /* Room on the disk; were it not given back, the next writer would cut it off. */
    if (writer->is_begun && ftruncate(writer->fd, (off_t)writer->done.end) != 0) errno = 0;
    if (writer->fd >= 0) close(writer->fd);
    free(writer->packed);
    free(writer->raw);
    free(writer->done.blocks);
    free(writer->names);
    free(writer->streams);
    free(writer->head);
    free(writer->path);
    free(writer);
}

size_t sp_journal_writer_blocks(const sp_journal_writer *writer, const sp_tokens_block **blocks) {
    *blocks = writer->done.blocks;
    return writer->done.n;
}

/* ---- frames ---- */

static sp_status write_frame(sp_journal_writer *writer, uint32_t kind, const void *payload,
                             size_t packed_bytes, size_t raw_bytes) {
    sp_journal_frame frame = {.kind = kind,
                              .packed_bytes = (uint32_t)packed_bytes, /* at most some MB */
                              .raw_bytes = (uint32_t)raw_bytes,
                              .payload_hash = XXH3_64bits(payload, packed_bytes)};
    frame.hash = sp_journal_frame_hash(&frame, writer->offset);
    SP_TRY(write_at_end(writer, &frame, sizeof frame));
    return write_at_end(writer, payload, packed_bytes);
}

static sp_status flush_contents(sp_journal_writer *writer) {
    const size_t n_raw = writer->n_raw;
    writer->n_raw = 0;
    if (n_raw == 0) return SP_OK;
    const size_t packed_bytes =
        ZSTD_compress(writer->packed, writer->packed_capacity, writer->raw, n_raw, ZSTD_LEVEL);
    if (ZSTD_isError(packed_bytes))
        return sp_fail(SP_FAILURE, "'%s': %s", writer->path, ZSTD_getErrorName(packed_bytes));
    return write_frame(writer, SP_JOURNAL_CONTENTS, writer->packed, packed_bytes, n_raw);
}

static sp_status put(sp_journal_writer *writer, const void *data, size_t n_bytes) {
    writer->block.n_contents += n_bytes;
    for (const char *from = data; n_bytes > 0;) {
        const size_t room = SP_JOURNAL_FRAME_BYTES - writer->n_raw;
        const size_t part = n_bytes < room ? n_bytes : room;
        memcpy(writer->raw + writer->n_raw, from, part);
        writer->n_raw += part;
        from += part;
        n_bytes -= part;
        if (writer->n_raw == SP_JOURNAL_FRAME_BYTES) SP_TRY(flush_contents(writer));
    }
    return SP_OK;
}

/* ---- a block ---- */

sp_status sp_journal_writer_begin(sp_journal_writer *writer, uint64_t index) {
    assert(!writer->is_begun);
    writer->block = (sp_tokens_block){.index = index, .begin = writer->offset};
    writer->n_raw = 0;
    writer->is_begun = true;
    return SP_OK;
}

sp_status sp_journal_writer_document(sp_journal_writer *writer, const char *id, uint64_t hash) {
    assert(writer->is_begun);
    const size_t id_len = strlen(id);
    if (id_len > SP_TOKENS_MAX_ID)
        return sp_fail(SP_BAD_DATA, "'%s': an id of %zu bytes, at most %d are kept: '%.80s…'",
                       writer->path, id_len, SP_TOKENS_MAX_ID, id);
    if (id_len > writer->block.longest_id) writer->block.longest_id = id_len;
    const sp_journal_head head = {SP_JOURNAL_DOCUMENT_RECORD, (uint32_t)id_len, hash};
    writer->block.n_documents++;
    SP_TRY(put(writer, &head, sizeof head));
    return put(writer, id, id_len);
}

sp_status sp_journal_writer_segment(sp_journal_writer *writer, uint64_t byte_begin,
                                    uint32_t byte_len, const int32_t *const *ids,
                                    const size_t *n_ids) {
    assert(writer->is_begun && writer->block.n_documents > 0 && n_ids[0] > 0 &&
           n_ids[0] <= writer->segment_tokens);
    uint32_t counts[SP_TOKENS_MAX_STREAMS];
    for (size_t s = 0; s < writer->n_streams; s++) {
        SP_TRY(sp_tokens_check_ids(&writer->streams[s], ids[s], n_ids[s]));
        counts[s] = (uint32_t)n_ids[s]; /* a segment's bytes fit 32 bits, and so do its tokens */
    }
    const sp_journal_head head = {SP_JOURNAL_SEGMENT_RECORD, byte_len, byte_begin};
    SP_TRY(put(writer, &head, sizeof head));
    SP_TRY(put(writer, counts, writer->n_streams * sizeof counts[0]));
    for (size_t s = 0; s < writer->n_streams; s++) {
        SP_TRY(put(writer, ids[s], n_ids[s] * sizeof *ids[s]));
        writer->block.n_ids[s] += n_ids[s];
    }
    writer->block.n_segments++;
    return SP_OK;
}

static sp_status write_block(sp_journal_writer *writer) {
    const sp_tokens_block *block = &writer->block;
    struct {
        sp_journal_counts counts;
        uint64_t n_ids[SP_TOKENS_MAX_STREAMS];
    } payload = {.counts = {block->index, block->n_documents, block->n_segments, block->longest_id,
                            block->n_contents, block->begin}};
    memcpy(payload.counts.tallies, block->tallies, sizeof block->tallies);
    memcpy(payload.n_ids, block->n_ids, sizeof payload.n_ids);
    const size_t n_bytes = sizeof payload.counts + writer->n_streams * sizeof payload.n_ids[0];
    return write_frame(writer, SP_JOURNAL_BLOCK, &payload, n_bytes, n_bytes);
}

sp_status sp_journal_writer_end(sp_journal_writer *writer, const uint64_t *tallies) {
    assert(writer->is_begun);
    if (tallies != NULL) memcpy(writer->block.tallies, tallies, sizeof writer->block.tallies);
    SP_TRY(flush_contents(writer));
    SP_TRY(sync_journal(writer));
    SP_TRY(write_block(writer));
    SP_TRY(sync_journal(writer));
    writer->done.end = writer->offset;
    writer->is_begun = false;
    return SP_OK;
}
