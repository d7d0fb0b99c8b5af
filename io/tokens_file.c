#include "io/tokens_file.h"

#include "base/memory.h"
#include "io/hdf5_table.h"
#include "io/tokens_schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* For each stream: some hundred unpacked chunks, so that neighbours and short epochs hit. What is
   read of documents and places goes by in order, if at all. */
enum { CACHE_BYTES = 32 << 20, PLACE_CACHE_BYTES = 1 << 20 };

typedef struct token_stream {
    char name[SP_STREAM_NAME_SIZE];
    char tokenizer_digest[128];
    size_t vocab_size;
    size_t position; /* among the streams as they were written: the one that cuts is 0 */
    size_t ids, n_ids, item_bytes;
    size_t offsets_column;
    uint64_t *offsets; /* [n_segments + 1], owned */
} token_stream;

struct sp_tokens {
    char *path;
    sp_hdf5_table *table;
    size_t segment_tokens, n_segments, n_documents;
    char cut_stream[SP_STREAM_NAME_SIZE];
    char digest[SP_DIGEST_HEX_SIZE];
    uint64_t *doc;                                            /* [n_segments], owned */
    uint64_t *hash;                                           /* [n_documents], owned */
    size_t doc_column, hash_column, byte_begin, byte_len, id; /* columns of the table */
    token_stream *streams;                                    /* [n_streams], owned */
    size_t n_streams;
    size_t order[SP_TOKENS_MAX_STREAMS]; /* [n_streams]: the stream at each position */
};

/* ---- opening ---- */

static sp_status read_header(sp_tokens *tokens) {
    const sp_hdf5_file *file = sp_hdf5_table_file(tokens->table);
    char format[64] = "";
    uint64_t version = 0, segment_tokens = 0;
    const sp_status status = sp_hdf5_read_string(file, "/", "format", format, sizeof format);
    if (status == SP_OK && strcmp(format, SP_TOKENS_PART_FORMAT) == 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s': one part of a token file; the file beside its folder is "
                       "the whole",
                       tokens->path);
    if (status != SP_OK || strcmp(format, SP_TOKENS_FORMAT) != 0)
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

/* Loads a small dataset of the file itself as u64 [*n]; its extent says how many. */
static sp_status load_u64s(uint64_t **values, size_t *n, const sp_hdf5_file *file,
                           const char *name) {
    void *loaded = NULL;
    SP_TRY(sp_hdf5_count(n, file, name, SP_HDF5_U64));
    SP_TRY(sp_hdf5_load(&loaded, file, name, SP_HDF5_U64, *n));
    *values = loaded;
    return SP_OK;
}

static sp_status add_columns(sp_tokens *tokens) {
    size_t n_begin = 0, n_len = 0, n_id = 0;
    sp_hdf5_table *table = tokens->table;
    SP_TRY(sp_hdf5_table_add(table, &tokens->hash_column, &tokens->n_documents,
                             SP_TOKENS_DOCUMENT_HASH, SP_HDF5_U64, 0, 0));
    SP_TRY(sp_hdf5_table_add(table, &tokens->doc_column, &tokens->n_segments, SP_TOKENS_DOC,
                             SP_HDF5_U64, 0, 0));
    SP_TRY(sp_hdf5_table_add(table, &tokens->byte_begin, &n_begin, SP_TOKENS_BYTE_BEGIN,
                             SP_HDF5_U64, 0, PLACE_CACHE_BYTES));
    SP_TRY(sp_hdf5_table_add(table, &tokens->byte_len, &n_len, SP_TOKENS_BYTE_LEN, SP_HDF5_U32, 0,
                             PLACE_CACHE_BYTES));
    SP_TRY(sp_hdf5_table_add(table, &tokens->id, &n_id, SP_TOKENS_DOCUMENT_ID, SP_HDF5_STRING, 0,
                             PLACE_CACHE_BYTES));
    if (tokens->n_segments == 0)
        return sp_fail(SP_BAD_DATA, "'%s': holds no segment", tokens->path);
    if (n_begin != tokens->n_segments || n_len != tokens->n_segments)
        return sp_fail(SP_BAD_DATA, "'%s': datasets of '%s' differ in length", tokens->path,
                       SP_TOKENS_SEGMENTS);
    if (n_id != tokens->n_documents)
        return sp_fail(SP_BAD_DATA, "'%s': datasets of '%s' differ in length", tokens->path,
                       SP_TOKENS_DOCUMENTS);
    return SP_OK;
}

static sp_status load_segments(sp_tokens *tokens) {
    void *hash = NULL, *doc = NULL;
    SP_TRY(sp_hdf5_table_load(tokens->table, tokens->hash_column, &hash));
    tokens->hash = hash;
    SP_TRY(sp_hdf5_table_load(tokens->table, tokens->doc_column, &doc));
    tokens->doc = doc;
    for (size_t i = 0; i < tokens->n_segments; i++)
        if (tokens->doc[i] >= tokens->n_documents || (i > 0 && tokens->doc[i] < tokens->doc[i - 1]))
            return sp_fail(SP_BAD_DATA, "'%s', '%s', row %zu: document %ju falls or is beyond %zu",
                           tokens->path, SP_TOKENS_DOC, i, (uintmax_t)tokens->doc[i],
                           tokens->n_documents);
    return SP_OK;
}

/* Offsets start at 0, never fall, end at the number of ids; where the stream cuts, a segment has 1
   to segment_tokens. */
static sp_status check_offsets(const sp_tokens *tokens, const token_stream *stream) {
    const uint64_t *offsets = stream->offsets;
    const size_t n_ids = stream->n_ids;
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

/* Files of before the attribute: the stream that cuts came first, the others in the order of their
   names, as far as anybody can tell. */
static sp_status read_position(const sp_tokens *tokens, token_stream *stream, const char *object) {
    uint64_t position = 0;
    if (sp_hdf5_read_u64(sp_hdf5_table_file(tokens->table), object, SP_TOKENS_POSITION,
                         &position) == SP_OK) {
        stream->position = position;
        return SP_OK;
    }
    if (strcmp(stream->name, tokens->cut_stream) == 0) return SP_OK;
    stream->position = 1;
    for (const token_stream *before = tokens->streams; before < stream; before++)
        stream->position += strcmp(before->name, tokens->cut_stream) != 0;
    return SP_OK;
}

/* The stream's name is set. */
static sp_status add_stream_columns(const sp_tokens *tokens, token_stream *stream) {
    const sp_hdf5_file *file = sp_hdf5_table_file(tokens->table);
    char object[SP_TOKENS_OBJECT_SIZE];
    uint64_t vocab_size = 0;
    size_t n_offsets = 0;
    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s", stream->name);
    SP_TRY(sp_hdf5_read_u64(file, object, SP_TOKENS_VOCAB_SIZE, &vocab_size));
    if (vocab_size == 0 || vocab_size > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "'%s', stream '%s': a vocabulary of %ju tokens", tokens->path,
                       stream->name, (uintmax_t)vocab_size);
    stream->vocab_size = vocab_size;
    SP_TRY(sp_hdf5_read_string(file, object, SP_TOKENS_TOKENIZER_DIGEST, stream->tokenizer_digest,
                               sizeof stream->tokenizer_digest));
    SP_TRY(read_position(tokens, stream, object));

    const sp_hdf5_kind kind = vocab_size <= SP_TOKENS_U16_VOCAB ? SP_HDF5_U16 : SP_HDF5_U32;
    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_IDS, stream->name);
    SP_TRY(sp_hdf5_table_add(tokens->table, &stream->ids, &stream->n_ids, object, kind, 0,
                             CACHE_BYTES));
    stream->item_bytes = kind == SP_HDF5_U16 ? sizeof(uint16_t) : sizeof(uint32_t);

    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_OFFSETS, stream->name);
    SP_TRY(sp_hdf5_table_add(tokens->table, &stream->offsets_column, &n_offsets, object,
                             SP_HDF5_U64, 1, 0)); /* row 0 is 0, with or without a part */
    if (n_offsets != tokens->n_segments + 1)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu values where %zu belong", tokens->path, object,
                       n_offsets, tokens->n_segments + 1);
    return SP_OK;
}

static sp_status load_stream(const sp_tokens *tokens, token_stream *stream) {
    void *offsets = NULL;
    SP_TRY(sp_hdf5_table_load(tokens->table, stream->offsets_column, &offsets));
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
    return 0;
}

/* Each position has one stream, the first the one that cuts. */
static sp_status check_positions(sp_tokens *tokens) {
    for (size_t position = 0; position < tokens->n_streams; position++) {
        size_t n = 0;
        for (size_t s = 0; s < tokens->n_streams; s++) {
            if (tokens->streams[s].position != position) continue;
            tokens->order[position] = s;
            n++;
        }
        if (n != 1)
            return sp_fail(SP_BAD_DATA, "'%s': %zu streams at position %zu", tokens->path, n,
                           position);
    }
    if (tokens->n_streams == 0 ||
        strcmp(tokens->streams[tokens->order[0]].name, tokens->cut_stream) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': no stream '%s', by which it is cut", tokens->path,
                       tokens->cut_stream);
    return SP_OK;
}

static sp_status open_streams(sp_tokens *tokens) {
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, SP_TOKENS_MAX_STREAMS, sizeof(token_stream), "streams"));
    tokens->streams = block;
    const herr_t walked =
        H5Literate_by_name(sp_hdf5_table_file(tokens->table)->id, SP_TOKENS_STREAMS, H5_INDEX_NAME,
                           H5_ITER_INC, NULL, add_stream, tokens, H5P_DEFAULT);
    if (walked < 0) return sp_hdf5_fail(tokens->path, SP_TOKENS_STREAMS);
    if (walked > 0)
        return sp_fail(SP_BAD_DATA, "'%s': more streams, or a longer name, than allowed",
                       tokens->path);
    for (size_t s = 0; s < tokens->n_streams; s++)
        SP_TRY(add_stream_columns(tokens, &tokens->streams[s]));
    return check_positions(tokens);
}

static sp_status open_all(sp_tokens *tokens) {
    SP_TRY(sp_hdf5_table_open(&tokens->table, tokens->path));
    SP_TRY(read_header(tokens));
    SP_TRY(add_columns(tokens));
    SP_TRY(open_streams(tokens));
    SP_TRY(sp_hdf5_table_check(tokens->table, SP_TOKENS_PART_FORMAT, SP_TOKENS_PART_DIGEST));
    SP_TRY(load_segments(tokens));
    for (size_t s = 0; s < tokens->n_streams; s++) SP_TRY(load_stream(tokens, &tokens->streams[s]));
    return SP_OK;
}

sp_status sp_tokens_open(sp_tokens **tokens, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **tokens, "a token file"));
    sp_tokens *made = block;
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
    sp_hdf5_table_close(tokens->table);
    sp_hdf5_unlock();
    for (size_t s = 0; s < tokens->n_streams; s++) free(tokens->streams[s].offsets);
    free(tokens->streams);
    free(tokens->hash);
    free(tokens->doc);
    free(tokens->path);
    free(tokens);
}

/* ---- reading ---- */

const char *sp_tokens_path(const sp_tokens *tokens) { return tokens->path; }
size_t sp_tokens_n_segments(const sp_tokens *tokens) { return tokens->n_segments; }
size_t sp_tokens_n_documents(const sp_tokens *tokens) { return tokens->n_documents; }
size_t sp_tokens_n_streams(const sp_tokens *tokens) { return tokens->n_streams; }
size_t sp_tokens_segment_tokens(const sp_tokens *tokens) { return tokens->segment_tokens; }
const char *sp_tokens_digest(const sp_tokens *tokens) { return tokens->digest; }
size_t sp_tokens_n_parts(const sp_tokens *tokens) { return sp_hdf5_table_n_parts(tokens->table); }

size_t sp_tokens_stream_at(const sp_tokens *tokens, size_t position) {
    assert(position < tokens->n_streams);
    return tokens->order[position];
}

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
    const bool is_narrow = from->item_bytes == sizeof(uint16_t);
    void *const out = (char *)ids + (is_narrow ? n_ids * sizeof(uint16_t) : 0);
    sp_hdf5_lock();
    const sp_status status =
        sp_hdf5_table_read(tokens->table, from->ids, from->offsets[segment], n_ids, out);
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

size_t sp_tokens_first_segment(const sp_tokens *tokens, size_t document) {
    size_t low = 0, high = tokens->n_segments;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (tokens->doc[middle] < document)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t sp_tokens_hash(const sp_tokens *tokens, size_t document) {
    assert(document < tokens->n_documents);
    return tokens->hash[document];
}

sp_status sp_tokens_document_id(const sp_tokens *tokens, size_t document, char **id) {
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_table_string(tokens->table, tokens->id, document, id);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_tokens_bytes(const sp_tokens *tokens, size_t segment, uint64_t *byte_begin,
                          uint32_t *byte_len) {
    assert(segment < tokens->n_segments);
    uint64_t begin = 0;
    uint32_t len = 0;
    sp_hdf5_lock();
    sp_status status = sp_hdf5_table_read(tokens->table, tokens->byte_begin, segment, 1, &begin);
    if (status == SP_OK)
        status = sp_hdf5_table_read(tokens->table, tokens->byte_len, segment, 1, &len);
    sp_hdf5_unlock();
    if (status != SP_OK) return status;
    if (begin > UINT64_MAX - len)
        return sp_fail(SP_BAD_DATA, "'%s', segment %zu: %u bytes at %ju", tokens->path, segment,
                       len, (uintmax_t)begin);
    *byte_begin = begin;
    *byte_len = len;
    return SP_OK;
}

/* ---- sources ---- */

static sp_status load_sources(const sp_tokens *tokens, sp_tokens_source **sources, size_t *n) {
    const sp_hdf5_file *file = sp_hdf5_table_file(tokens->table);
    uint64_t *bytes = NULL, *documents = NULL;
    size_t n_bytes = 0, n_documents = 0;
    void *made = NULL;
    sp_status status = load_u64s(&bytes, &n_bytes, file, SP_TOKENS_SOURCE_BYTES);
    if (status == SP_OK)
        status = load_u64s(&documents, &n_documents, file, SP_TOKENS_SOURCE_DOCUMENTS);
    if (status == SP_OK && n_bytes != n_documents)
        status = sp_fail(SP_BAD_DATA, "'%s': datasets of '%s' differ in length", file->path,
                         SP_TOKENS_SOURCES);
    if (status == SP_OK)
        status = sp_alloc_array(&made, n_bytes, sizeof(sp_tokens_source), "sources");
    sp_tokens_source *rows = made;
    for (size_t i = 0; i < n_bytes && status == SP_OK; i++) {
        rows[i].n_bytes = bytes[i];
        rows[i].n_documents = documents[i];
        status = sp_hdf5_load_string(&rows[i].path, file, SP_TOKENS_SOURCE_PATH, i);
    }
    free(documents);
    free(bytes);
    if (status != SP_OK) {
        sp_tokens_sources_free(rows, made == NULL ? 0 : n_bytes);
        return status;
    }
    *sources = rows;
    *n = n_bytes;
    return SP_OK;
}

sp_status sp_tokens_sources(const sp_tokens *tokens, sp_tokens_source **sources, size_t *n) {
    sp_hdf5_lock();
    const sp_status status = load_sources(tokens, sources, n);
    sp_hdf5_unlock();
    return status;
}

void sp_tokens_sources_free(sp_tokens_source *sources, size_t n) {
    for (size_t i = 0; i < n; i++) free(sources[i].path);
    free(sources);
}
