#include "io/tokens_writer.h"

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/corpus_digest.h"
#include "io/hdf5_column.h"
#include "io/tokens_header.h"
#include "io/tokens_schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct token_stream {
    char name[SP_STREAM_NAME_SIZE];
    sp_tokens_stream checks; /* name, vocab_size */
    uint64_t n_ids;          /* in the whole file */
    sp_hdf5_column ids, offsets;
} token_stream;

struct sp_tokens_writer {
    sp_atomic_file target;
    sp_hdf5_file file;
    sp_hdf5_column doc, byte_begin, byte_len, document_hash, source_bytes, source_documents;
    sp_hdf5_strings document_ids, source_paths;
    sp_corpus_digest *digest;
    uint64_t n_documents, n_segments; /* in the whole file; written here */
    bool is_part;
    sp_tokens_origin origin;
    size_t segment_tokens;
    char *header; /* [header_len], owned: what the digest covers beside the documents */
    size_t header_len;
    size_t n_streams;
    token_stream streams[];
};

/* ---- begin ---- */

static sp_status create_groups(const sp_tokens_writer *writer) {
    static const char *const groups[] = {SP_TOKENS_SEGMENTS, SP_TOKENS_STREAMS, SP_TOKENS_DOCUMENTS,
                                         SP_TOKENS_SOURCES};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        SP_TRY(sp_hdf5_create_group(&writer->file, groups[i]));
    return SP_OK;
}

static sp_status create_columns(sp_tokens_writer *writer) {
    const struct {
        sp_hdf5_column *column;
        const char *name;
        sp_hdf5_kind kind;
    } columns[] = {
        {&writer->doc, SP_TOKENS_DOC, SP_HDF5_U64},
        {&writer->byte_begin, SP_TOKENS_BYTE_BEGIN, SP_HDF5_U64},
        {&writer->byte_len, SP_TOKENS_BYTE_LEN, SP_HDF5_U32},
        {&writer->document_hash, SP_TOKENS_DOCUMENT_HASH, SP_HDF5_U64},
        {&writer->source_bytes, SP_TOKENS_SOURCE_BYTES, SP_HDF5_U64},
        {&writer->source_documents, SP_TOKENS_SOURCE_DOCUMENTS, SP_HDF5_U64},
    };
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        SP_TRY(sp_hdf5_column_create(columns[i].column, &writer->file, columns[i].name,
                                     columns[i].kind, 0, true));
    return SP_OK;
}

static sp_status create_stream(const sp_tokens_writer *writer, size_t position, token_stream *made,
                               const sp_tokens_stream *wanted) {
    char object[SP_TOKENS_OBJECT_SIZE];
    snprintf(made->name, sizeof made->name, "%s", wanted->name);
    made->checks = (sp_tokens_stream){.name = made->name, .vocab_size = wanted->vocab_size};

    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s", wanted->name);
    SP_TRY(sp_hdf5_create_group(&writer->file, object));
    SP_TRY(sp_hdf5_write_u64(&writer->file, object, SP_TOKENS_VOCAB_SIZE, wanted->vocab_size));
    SP_TRY(sp_hdf5_write_string(&writer->file, object, SP_TOKENS_TOKENIZER_DIGEST,
                                wanted->tokenizer_digest));
    SP_TRY(sp_hdf5_write_u64(&writer->file, object, SP_TOKENS_POSITION, position));

    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_IDS, wanted->name);
    const sp_hdf5_kind kind = wanted->vocab_size <= SP_TOKENS_U16_VOCAB ? SP_HDF5_U16 : SP_HDF5_U32;
    SP_TRY(sp_hdf5_column_create(&made->ids, &writer->file, object, kind, 0, true));

    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_OFFSETS, wanted->name);
    SP_TRY(sp_hdf5_column_create(&made->offsets, &writer->file, object, SP_HDF5_U64, 0, true));
    const uint64_t first = 0;
    return writer->is_part ? SP_OK : sp_hdf5_column_append(&made->offsets, &first, 1);
}

static sp_status begin_file(sp_tokens_writer *writer, const sp_tokens_stream *streams) {
    SP_TRY(sp_hdf5_create(&writer->file, writer->target.temp_path, writer->target.path, false));
    SP_TRY(create_groups(writer));
    SP_TRY(create_columns(writer));
    for (size_t s = 0; s < writer->n_streams; s++)
        SP_TRY(create_stream(writer, s, &writer->streams[s], &streams[s]));
    return SP_OK;
}

static sp_status open_writer(sp_tokens_writer **writer, const char *path, size_t segment_tokens,
                             const sp_tokens_stream *streams, size_t n_streams, bool is_part) {
    SP_TRY(sp_tokens_check_streams(streams, n_streams));
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **writer + n_streams * sizeof(token_stream), "a token file"));
    sp_tokens_writer *made = block;
    made->segment_tokens = segment_tokens;
    made->n_streams = n_streams;
    made->is_part = is_part;

    sp_status status = sp_atomic_begin(&made->target, path);
    if (status == SP_OK)
        status =
            sp_tokens_header(&made->header, &made->header_len, segment_tokens, streams, n_streams);
    if (status == SP_OK) status = sp_corpus_digest_create(&made->digest);
    if (status == SP_OK) status = sp_hdf5_strings_begin(&made->document_ids, made->target.path);
    if (status == SP_OK) status = sp_hdf5_strings_begin(&made->source_paths, made->target.path);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = begin_file(made, streams);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *writer = made;
    else
        sp_tokens_writer_abort(made);
    return status;
}

sp_status sp_tokens_writer_open(sp_tokens_writer **writer, const char *path, size_t segment_tokens,
                                const sp_tokens_stream *streams, size_t n_streams) {
    return open_writer(writer, path, segment_tokens, streams, n_streams, false);
}

sp_status sp_tokens_writer_open_part(sp_tokens_writer **writer, const char *path,
                                     size_t segment_tokens, const sp_tokens_stream *streams,
                                     size_t n_streams, size_t longest_id) {
    sp_tokens_writer *made = NULL;
    SP_TRY(open_writer(&made, path, segment_tokens, streams, n_streams, true));
    made->document_ids.longest = longest_id;
    *writer = made;
    return SP_OK;
}

void sp_tokens_writer_place(sp_tokens_writer *writer, uint64_t document, const uint64_t *ids) {
    assert(writer->is_part && document >= writer->n_documents);
    writer->n_documents = document;
    for (size_t s = 0; s < writer->n_streams; s++) writer->streams[s].n_ids = ids[s];
}

void sp_tokens_writer_origin(sp_tokens_writer *writer, const sp_tokens_origin *origin) {
    writer->origin = *origin;
}

/* ---- append ---- */

sp_status sp_tokens_writer_source(sp_tokens_writer *writer, const char *path, uint64_t n_bytes,
                                  uint64_t n_documents) {
    SP_TRY(sp_hdf5_strings_append(&writer->source_paths, path));
    sp_hdf5_lock();
    sp_status status = sp_hdf5_column_append(&writer->source_bytes, &n_bytes, 1);
    if (status == SP_OK) status = sp_hdf5_column_append(&writer->source_documents, &n_documents, 1);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_tokens_writer_document(sp_tokens_writer *writer, const char *id, uint64_t hash) {
    SP_TRY(sp_hdf5_strings_append(&writer->document_ids, id));
    sp_corpus_digest_document(writer->digest, writer->n_documents, hash);
    writer->n_documents++;
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_column_append(&writer->document_hash, &hash, 1);
    sp_hdf5_unlock();
    return status;
}

/* Appends the ids in the width of the file, in pieces that fit the stack. */
static sp_status append_ids(token_stream *stream, const int32_t *ids, size_t n_ids) {
    uint16_t narrow[1024];
    enum { PART = sizeof narrow / sizeof narrow[0] };
    if (stream->checks.vocab_size > SP_TOKENS_U16_VOCAB)
        return sp_hdf5_column_append(&stream->ids, ids, n_ids);
    for (size_t begin = 0; begin < n_ids; begin += PART) {
        const size_t n = n_ids - begin < PART ? n_ids - begin : PART;
        for (size_t i = 0; i < n; i++)
            narrow[i] = (uint16_t)ids[begin + i]; /* below the vocabulary: checked */
        SP_TRY(sp_hdf5_column_append(&stream->ids, narrow, n));
    }
    return SP_OK;
}

static sp_status append_segment(sp_tokens_writer *writer, uint64_t byte_begin, uint32_t byte_len,
                                const int32_t *const *ids, const size_t *n_ids) {
    const uint64_t document = writer->n_documents - 1;
    SP_TRY(sp_hdf5_column_append(&writer->doc, &document, 1));
    SP_TRY(sp_hdf5_column_append(&writer->byte_begin, &byte_begin, 1));
    SP_TRY(sp_hdf5_column_append(&writer->byte_len, &byte_len, 1));
    for (size_t s = 0; s < writer->n_streams; s++) {
        token_stream *stream = &writer->streams[s];
        stream->n_ids += n_ids[s];
        SP_TRY(append_ids(stream, ids[s], n_ids[s]));
        SP_TRY(sp_hdf5_column_append(&stream->offsets, &stream->n_ids, 1));
    }
    return SP_OK;
}

sp_status sp_tokens_writer_segment(sp_tokens_writer *writer, uint64_t byte_begin, uint32_t byte_len,
                                   const int32_t *const *ids, const size_t *n_ids) {
    assert(writer->n_documents > 0 && n_ids[0] > 0 && n_ids[0] <= writer->segment_tokens);
    for (size_t s = 0; s < writer->n_streams; s++)
        SP_TRY(sp_tokens_check_ids(&writer->streams[s].checks, ids[s], n_ids[s]));
    sp_corpus_digest_segment(writer->digest, byte_begin, byte_len);
    for (size_t s = 0; s < writer->n_streams; s++)
        sp_corpus_digest_ids(writer->digest, ids[s], n_ids[s]);
    writer->n_segments++;
    sp_hdf5_lock();
    const sp_status status = append_segment(writer, byte_begin, byte_len, ids, n_ids);
    sp_hdf5_unlock();
    return status;
}

/* ---- end ---- */

static sp_status finish_columns(sp_tokens_writer *writer) {
    sp_hdf5_column *const columns[] = {&writer->doc,          &writer->byte_begin,
                                       &writer->byte_len,     &writer->document_hash,
                                       &writer->source_bytes, &writer->source_documents};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        SP_TRY(sp_hdf5_column_finish(columns[i]));
    for (size_t s = 0; s < writer->n_streams; s++) {
        SP_TRY(sp_hdf5_column_finish(&writer->streams[s].ids));
        SP_TRY(sp_hdf5_column_finish(&writer->streams[s].offsets));
    }
    SP_TRY(sp_hdf5_strings_finish(&writer->document_ids, &writer->file, SP_TOKENS_DOCUMENT_ID));
    return sp_hdf5_strings_finish(&writer->source_paths, &writer->file, SP_TOKENS_SOURCE_PATH);
}

static sp_status write_attributes(sp_tokens_writer *writer) {
    const sp_hdf5_file *file = &writer->file;
    char digest[SP_DIGEST_HEX_SIZE];
    uint64_t sum[2];
    sp_corpus_digest_sum(writer->digest, sum);
    sp_corpus_digest_finish(writer->digest, writer->header, writer->header_len, digest);
    SP_TRY(sp_hdf5_write_string(file, "/", "format",
                                writer->is_part ? SP_TOKENS_PART_FORMAT : SP_TOKENS_FORMAT));
    if (writer->is_part) SP_TRY(sp_hdf5_write_u64s(file, "/", SP_TOKENS_DIGEST_SUM, sum, 2));
    SP_TRY(sp_hdf5_write_u64(file, "/", "format_version", SP_TOKENS_FORMAT_VERSION));
    SP_TRY(sp_hdf5_write_u64(file, "/", SP_TOKENS_SEGMENT_TOKENS, writer->segment_tokens));
    SP_TRY(sp_hdf5_write_string(file, "/", SP_TOKENS_CUT_STREAM, writer->streams[0].name));
    SP_TRY(sp_tokens_origin_write(file, &writer->origin));
    return sp_hdf5_write_string(file, "/", SP_TOKENS_DIGEST, digest);
}

/* Closes what lies in the HDF5 file, and the file. */
static void release_file(sp_tokens_writer *writer) {
    for (size_t s = 0; s < writer->n_streams; s++) {
        sp_hdf5_column_release(&writer->streams[s].offsets);
        sp_hdf5_column_release(&writer->streams[s].ids);
    }
    sp_hdf5_column_release(&writer->source_documents);
    sp_hdf5_column_release(&writer->source_bytes);
    sp_hdf5_column_release(&writer->document_hash);
    sp_hdf5_column_release(&writer->byte_len);
    sp_hdf5_column_release(&writer->byte_begin);
    sp_hdf5_column_release(&writer->doc);
    sp_hdf5_close(&writer->file);
}

sp_status sp_tokens_writer_commit(sp_tokens_writer *writer) {
    if (writer->n_segments == 0 && !writer->is_part) {
        const sp_status empty =
            sp_fail(SP_BAD_DATA, "no text to tokenize: '%s' is not written", writer->target.path);
        sp_tokens_writer_abort(writer);
        return empty;
    }
    sp_hdf5_lock();
    sp_status status = finish_columns(writer);
    if (status == SP_OK) status = write_attributes(writer);
    if (status == SP_OK) status = sp_hdf5_finish(&writer->file);
    sp_hdf5_unlock();
    if (status == SP_OK) status = sp_atomic_commit(&writer->target);
    sp_tokens_writer_abort(writer); /* of what was committed nothing is left to remove */
    return status;
}

void sp_tokens_writer_abort(sp_tokens_writer *writer) {
    if (writer == NULL) return;
    sp_hdf5_lock();
    release_file(writer);
    sp_hdf5_unlock();
    sp_hdf5_strings_release(&writer->source_paths);
    sp_hdf5_strings_release(&writer->document_ids);
    sp_corpus_digest_destroy(writer->digest);
    free(writer->header);
    sp_atomic_abort(&writer->target);
    free(writer);
}
