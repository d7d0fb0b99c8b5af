#include "io/tokens_file.h"

#include "base/memory.h"
#include "io/hdf5_internal.h"
#include "io/tokens_schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* For each stream: some hundred unpacked chunks, so that neighbours and short epochs hit. */
enum { CACHE_BYTES = 32 << 20 };

typedef struct token_stream {
    char name[SP_STREAM_NAME_SIZE];
    char tokenizer_digest[128];
    size_t vocab_size;
    char ids_name[SP_TOKENS_OBJECT_SIZE];
    sp_hdf5_dataset ids;
    uint64_t *offsets; /* [n_segments + 1], owned */
} token_stream;

struct sp_tokens {
    char *path;
    sp_hdf5_file file;
    size_t segment_tokens, n_segments, n_documents;
    char cut_stream[SP_STREAM_NAME_SIZE];
    char digest[SP_DIGEST_HEX_SIZE];
    uint64_t *doc;  /* [n_segments], owned */
    uint64_t *hash; /* [n_documents], owned */
    sp_hdf5_dataset byte_begin, byte_len;
    token_stream *streams; /* [n_streams], owned */
    size_t n_streams;
};

/* ---- opening ---- */

static sp_status read_header(sp_tokens *tokens) {
    const sp_hdf5_file *file = &tokens->file;
    char format[64];
    uint64_t version = 0, segment_tokens = 0;
    if (sp_hdf5_read_string(file, "/", "format", format, sizeof format) != SP_OK ||
        strcmp(format, SP_TOKENS_FORMAT) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': not a token file of slotpress", tokens->path);
    SP_TRY(sp_hdf5_read_u64(file, "/", "format_version", &version));
    if (version != SP_TOKENS_FORMAT_VERSION)
        return sp_fail(SP_BAD_DATA, "'%s': token format version %ju; this program reads %d",
                       tokens->path, (uintmax_t)version, SP_TOKENS_FORMAT_VERSION);
    SP_TRY(sp_hdf5_read_u64(file, "/", SP_TOKENS_SEGMENT_TOKENS, &segment_tokens));
    if (segment_tokens == 0 || segment_tokens > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "'%s': segments of %ju tokens", tokens->path,
                       (uintmax_t)segment_tokens);
    tokens->segment_tokens = segment_tokens;
    SP_TRY(sp_hdf5_read_string(file, "/", SP_TOKENS_CUT_STREAM, tokens->cut_stream,
                               sizeof tokens->cut_stream));
    return sp_hdf5_read_string(file, "/", SP_TOKENS_DIGEST, tokens->digest, sizeof tokens->digest);
}

/* Loads `name` as u64 [*n]; its extent says how many. */
static sp_status load_u64s(uint64_t **values, size_t *n, const sp_hdf5_file *file,
                           const char *name) {
    void *loaded = NULL;
    SP_TRY(sp_hdf5_count(n, file, name, SP_HDF5_U64));
    SP_TRY(sp_hdf5_load(&loaded, file, name, SP_HDF5_U64, *n));
    *values = loaded;
    return SP_OK;
}

static sp_status open_segments(sp_tokens *tokens) {
    const sp_hdf5_file *file = &tokens->file;
    SP_TRY(load_u64s(&tokens->hash, &tokens->n_documents, file, SP_TOKENS_DOCUMENT_HASH));
    SP_TRY(load_u64s(&tokens->doc, &tokens->n_segments, file, SP_TOKENS_DOC));
    if (tokens->n_segments == 0)
        return sp_fail(SP_BAD_DATA, "'%s': holds no segment", tokens->path);
    for (size_t i = 0; i < tokens->n_segments; i++)
        if (tokens->doc[i] >= tokens->n_documents || (i > 0 && tokens->doc[i] < tokens->doc[i - 1]))
            return sp_fail(SP_BAD_DATA, "'%s', '%s', row %zu: document %ju falls or is beyond %zu",
                           tokens->path, SP_TOKENS_DOC, i, (uintmax_t)tokens->doc[i],
                           tokens->n_documents);

    SP_TRY(
        sp_hdf5_open_dataset(&tokens->byte_begin, file, SP_TOKENS_BYTE_BEGIN, SP_HDF5_U64, 1, 0));
    SP_TRY(sp_hdf5_open_dataset(&tokens->byte_len, file, SP_TOKENS_BYTE_LEN, SP_HDF5_U32, 1, 0));
    if (tokens->byte_begin.extent[0] != tokens->n_segments ||
        tokens->byte_len.extent[0] != tokens->n_segments)
        return sp_fail(SP_BAD_DATA, "'%s': datasets of '%s' differ in length", tokens->path,
                       SP_TOKENS_SEGMENTS);
    return SP_OK;
}

/* Offsets start at 0, never fall, end at the number of ids; where the stream cuts, a segment has 1
   to segment_tokens. */
static sp_status check_offsets(const sp_tokens *tokens, const token_stream *stream) {
    const uint64_t *offsets = stream->offsets;
    const size_t n_ids = stream->ids.extent[0];
    const bool cuts = strcmp(stream->name, tokens->cut_stream) == 0;
    if (offsets[0] != 0 || offsets[tokens->n_segments] != n_ids)
        return sp_fail(SP_BAD_DATA, "'%s', stream '%s': offsets run from %ju to %ju over %zu ids",
                       tokens->path, stream->name, (uintmax_t)offsets[0],
                       (uintmax_t)offsets[tokens->n_segments], n_ids);
    for (size_t i = 0; i < tokens->n_segments; i++) {
        if (offsets[i + 1] < offsets[i])
            return sp_fail(SP_BAD_DATA, "'%s', stream '%s': offset %zu falls", tokens->path,
                           stream->name, i + 1);
        const uint64_t length = offsets[i + 1] - offsets[i];
        if (cuts && (length == 0 || length > tokens->segment_tokens))
            return sp_fail(SP_BAD_DATA, "'%s', stream '%s', segment %zu: %ju tokens, not 1 to %zu",
                           tokens->path, stream->name, i, (uintmax_t)length,
                           tokens->segment_tokens);
    }
    return SP_OK;
}

/* The stream's name is set. */
static sp_status open_stream(const sp_tokens *tokens, token_stream *stream) {
    const sp_hdf5_file *file = &tokens->file;
    char object[SP_TOKENS_OBJECT_SIZE];
    uint64_t vocab_size = 0;
    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s", stream->name);
    SP_TRY(sp_hdf5_read_u64(file, object, SP_TOKENS_VOCAB_SIZE, &vocab_size));
    if (vocab_size == 0 || vocab_size > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "'%s', stream '%s': a vocabulary of %ju tokens", tokens->path,
                       stream->name, (uintmax_t)vocab_size);
    stream->vocab_size = vocab_size;
    SP_TRY(sp_hdf5_read_string(file, object, SP_TOKENS_TOKENIZER_DIGEST, stream->tokenizer_digest,
                               sizeof stream->tokenizer_digest));

    snprintf(stream->ids_name, sizeof stream->ids_name, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_IDS,
             stream->name);
    const sp_hdf5_kind kind = vocab_size <= SP_TOKENS_U16_VOCAB ? SP_HDF5_U16 : SP_HDF5_U32;
    SP_TRY(sp_hdf5_open_dataset(&stream->ids, file, stream->ids_name, kind, 1, CACHE_BYTES));

    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_OFFSETS, stream->name);
    void *offsets = NULL;
    SP_TRY(sp_hdf5_load(&offsets, file, object, SP_HDF5_U64, tokens->n_segments + 1));
    stream->offsets = offsets;
    return check_offsets(tokens, stream);
}

/* Called for each name in /streams, in their order; a positive result ends the walk. */
static herr_t add_stream(hid_t group, const char *name, const H5L_info_t *info, void *data) {
    (void)group, (void)info;
    sp_tokens *tokens = data;
    if (tokens->n_streams == SP_TOKENS_MAX_STREAMS || strlen(name) >= SP_STREAM_NAME_SIZE) return 1;
    token_stream *added = &tokens->streams[tokens->n_streams++];
    strcpy(added->name, name);
    added->ids = SP_HDF5_NO_DATASET;
    return 0;
}

static sp_status open_streams(sp_tokens *tokens) {
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, SP_TOKENS_MAX_STREAMS, sizeof(token_stream), "streams"));
    tokens->streams = block;
    const herr_t walked = H5Literate_by_name(tokens->file.id, SP_TOKENS_STREAMS, H5_INDEX_NAME,
                                             H5_ITER_INC, NULL, add_stream, tokens, H5P_DEFAULT);
    if (walked < 0) return sp_hdf5_fail(tokens->path, SP_TOKENS_STREAMS);
    if (walked > 0)
        return sp_fail(SP_BAD_DATA, "'%s': more streams, or a longer name, than allowed",
                       tokens->path);
    for (size_t s = 0; s < tokens->n_streams; s++) SP_TRY(open_stream(tokens, &tokens->streams[s]));
    for (size_t s = 0; s < tokens->n_streams; s++)
        if (strcmp(tokens->streams[s].name, tokens->cut_stream) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': no stream '%s', by which it is cut", tokens->path,
                   tokens->cut_stream);
}

static sp_status open_all(sp_tokens *tokens) {
    SP_TRY(sp_hdf5_open(&tokens->file, tokens->path));
    SP_TRY(read_header(tokens));
    SP_TRY(open_segments(tokens));
    return open_streams(tokens);
}

sp_status sp_tokens_open(sp_tokens **tokens, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **tokens, "a token file"));
    sp_tokens *made = block;
    made->byte_begin = made->byte_len = SP_HDF5_NO_DATASET;
    made->path = strdup(path);
    sp_status status = SP_OK;
    if (made->path == NULL) status = sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = open_all(made);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *tokens = made;
    else
        sp_tokens_close(made);
    return status;
}

void sp_tokens_close(sp_tokens *tokens) {
    if (tokens == NULL) return;
    sp_hdf5_lock();
    for (size_t s = 0; s < tokens->n_streams; s++) {
        free(tokens->streams[s].offsets);
        sp_hdf5_release_dataset(&tokens->streams[s].ids);
    }
    sp_hdf5_release_dataset(&tokens->byte_len);
    sp_hdf5_release_dataset(&tokens->byte_begin);
    sp_hdf5_close(&tokens->file);
    sp_hdf5_unlock();
    free(tokens->streams);
    free(tokens->hash);
    free(tokens->doc);
    free(tokens->path);
    free(tokens);
}

/* ---- reading ---- */

size_t sp_tokens_n_segments(const sp_tokens *tokens) { return tokens->n_segments; }
size_t sp_tokens_n_documents(const sp_tokens *tokens) { return tokens->n_documents; }
size_t sp_tokens_n_streams(const sp_tokens *tokens) { return tokens->n_streams; }
size_t sp_tokens_segment_tokens(const sp_tokens *tokens) { return tokens->segment_tokens; }
const char *sp_tokens_digest(const sp_tokens *tokens) { return tokens->digest; }

sp_status sp_tokens_find_stream(const sp_tokens *tokens, const char *name, size_t *stream) {
    for (size_t s = 0; s < tokens->n_streams; s++) {
        if (strcmp(tokens->streams[s].name, name) == 0) {
            *stream = s;
            return SP_OK;
        }
    }
    char names[512] = "";
    for (size_t s = 0, used = 0; s < tokens->n_streams && used < sizeof names; s++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s'%s'", s > 0 ? ", " : "",
                                 tokens->streams[s].name);
    return sp_fail(SP_USAGE, "'%s': no stream '%s'; it has %s", tokens->path, name, names);
}

const char *sp_tokens_stream_name(const sp_tokens *tokens, size_t stream) {
    assert(stream < tokens->n_streams);
    return tokens->streams[stream].name;
}

size_t sp_tokens_vocab_size(const sp_tokens *tokens, size_t stream) {
    assert(stream < tokens->n_streams);
    return tokens->streams[stream].vocab_size;
}

const char *sp_tokens_tokenizer_digest(const sp_tokens *tokens, size_t stream) {
    assert(stream < tokens->n_streams);
    return tokens->streams[stream].tokenizer_digest;
}

size_t sp_tokens_length(const sp_tokens *tokens, size_t stream, size_t segment) {
    assert(stream < tokens->n_streams && segment < tokens->n_segments);
    const uint64_t *offsets = tokens->streams[stream].offsets;
    return offsets[segment + 1] - offsets[segment];
}

/* Ids of 16 bits were read into the upper half of ids: widens them in place, from the front. */
static void widen_ids(int32_t *ids, size_t n_ids) {
    const char *narrow = (const char *)ids + n_ids * sizeof(uint16_t);
    for (size_t i = 0; i < n_ids; i++) {
        uint16_t id;
        memcpy(&id, narrow + i * sizeof id, sizeof id);
        ids[i] = id;
    }
}

sp_status sp_tokens_read(const sp_tokens *tokens, size_t stream, size_t segment, int32_t *ids) {
    const size_t n_ids = sp_tokens_length(tokens, stream, segment);
    const token_stream *from = &tokens->streams[stream];
    const bool is_narrow = from->ids.item_bytes == sizeof(uint16_t);
    void *const out = (char *)ids + (is_narrow ? n_ids * sizeof(uint16_t) : 0);
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_read_rows(&from->ids, from->offsets[segment], n_ids, out);
    sp_hdf5_unlock();
    if (status != SP_OK) return sp_fail(status, "%s (segment %zu)", sp_message(), segment);
    if (is_narrow) widen_ids(ids, n_ids);
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= from->vocab_size)
            return sp_fail(SP_BAD_DATA,
                           "'%s', stream '%s', segment %zu: token id %ju is beyond the vocabulary "
                           "of %zu",
                           tokens->path, from->name, segment, (uintmax_t)(uint32_t)ids[i],
                           from->vocab_size);
    return SP_OK;
}

size_t sp_tokens_document(const sp_tokens *tokens, size_t segment) {
    assert(segment < tokens->n_segments);
    return tokens->doc[segment];
}

uint64_t sp_tokens_document_hash(const sp_tokens *tokens, size_t segment) {
    return tokens->hash[sp_tokens_document(tokens, segment)];
}

sp_status sp_tokens_document_id(const sp_tokens *tokens, size_t document, char **id) {
    sp_hdf5_lock();
    const sp_status status =
        sp_hdf5_load_string(id, &tokens->file, SP_TOKENS_DOCUMENT_ID, document);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_tokens_bytes(const sp_tokens *tokens, size_t segment, uint64_t *byte_begin,
                          uint32_t *byte_len) {
    assert(segment < tokens->n_segments);
    uint64_t begin = 0;
    uint32_t len = 0;
    sp_hdf5_lock();
    sp_status status = sp_hdf5_read_rows(&tokens->byte_begin, segment, 1, &begin);
    if (status == SP_OK) status = sp_hdf5_read_rows(&tokens->byte_len, segment, 1, &len);
    sp_hdf5_unlock();
    if (status != SP_OK) return status;
    if (begin > UINT64_MAX - len)
        return sp_fail(SP_BAD_DATA, "'%s', segment %zu: %u bytes at %ju", tokens->path, segment,
                       len, (uintmax_t)begin);
    *byte_begin = begin;
    *byte_len = len;
    return SP_OK;
}

/* ---- describing ---- */

/* The rows of /sources, as a JSON array in *sources. */
static sp_status describe_sources(json_t *sources, const sp_hdf5_file *file) {
    uint64_t *bytes = NULL, *documents = NULL;
    size_t n = 0, n_documents = 0;
    sp_status status = load_u64s(&bytes, &n, file, SP_TOKENS_SOURCE_BYTES);
    if (status == SP_OK)
        status = load_u64s(&documents, &n_documents, file, SP_TOKENS_SOURCE_DOCUMENTS);
    if (status == SP_OK && n != n_documents)
        status = sp_fail(SP_BAD_DATA, "'%s': datasets of '%s' differ in length", file->path,
                         SP_TOKENS_SOURCES);
    for (size_t i = 0; i < n && status == SP_OK; i++) {
        char *path = NULL;
        status = sp_hdf5_load_string(&path, file, SP_TOKENS_SOURCE_PATH, i);
        if (status == SP_OK)
            json_array_append_new(sources, json_pack("{s:s*, s:I, s:I}", "path", path, "bytes",
                                                     (json_int_t)bytes[i], "documents",
                                                     (json_int_t)documents[i]));
        free(path);
    }
    free(documents);
    free(bytes);
    return status;
}

static json_t *describe_stream(const sp_tokens *tokens, const token_stream *stream) {
    return json_pack("{s:s, s:I, s:I, s:s, s:b}", "name", stream->name, "vocab_size",
                     (json_int_t)stream->vocab_size, "tokens",
                     (json_int_t)stream->offsets[tokens->n_segments], "tokenizer_digest",
                     stream->tokenizer_digest, "cuts",
                     strcmp(stream->name, tokens->cut_stream) == 0);
}

sp_status sp_tokens_describe(json_t **description, const char *path) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, path));
    json_t *streams = json_array(), *sources = json_array();
    for (size_t s = 0; s < tokens->n_streams; s++)
        json_array_append_new(streams, describe_stream(tokens, &tokens->streams[s]));
    sp_hdf5_lock();
    sp_status status = describe_sources(sources, &tokens->file);
    sp_hdf5_unlock();
    json_t *made = json_pack(
        "{s:s, s:i, s:I, s:I, s:I, s:s, s:o, s:o}", "format", SP_TOKENS_FORMAT, "format_version",
        SP_TOKENS_FORMAT_VERSION, "segment_tokens", (json_int_t)tokens->segment_tokens, "segments",
        (json_int_t)tokens->n_segments, "documents", (json_int_t)tokens->n_documents, "digest",
        tokens->digest, "streams", streams, "sources", sources);
    if (status == SP_OK && made == NULL)
        status = sp_fail(SP_BAD_DATA, "'%s': a name in it is not UTF-8", path);
    if (status == SP_OK) {
        *description = made;
        made = NULL;
    }
    json_decref(made);
    sp_tokens_close(tokens);
    return status;
}
