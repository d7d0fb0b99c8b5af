/* Token files: a corpus cut into segments, tokenized once for each model that reads it.

       /                     format "slotpress-tokens", format_version, segment_tokens,
                             cut_stream (the stream whose tokens cut), digest; job_digest and
                             summary where `slotpress tokenize` made it
       /segments/doc         u64 [n_segments]   row of /documents, never falling
       /segments/byte_begin  u64 [n_segments]   in the document's text
       /segments/byte_len    u32 [n_segments]
       /streams/NAME         vocab_size, tokenizer_digest, position (as named by the user, from 0)
       /streams/NAME/ids     u16 or u32 [n_ids] u16 if the vocabulary fits
       /streams/NAME/offsets u64 [n_segments + 1]
       /documents/id         UTF-8 [n_documents], the input's id, else FILE:LINE, FILE:ROW or FILE
       /documents/hash       u64 [n_documents]  XXH3-64 of the document's bytes; 0: nobody took them
       /sources/path, bytes, documents          one row an input file, as named by the user

   What follows / and /streams/NAME are attributes. Datasets are little-endian, chunked,
   shuffled, deflated and checksummed (Fletcher32); strings have a fixed length, padded with NUL.
   /documents has a row for every input document in order, so that its number is where it stands in
   the input: also for those without segments, which have no text, repeat an earlier one, are too
   long, were left out by a condition or lost to damage (the last two with hash 0; a lost one's id is
   FILE:LINE, FILE:ROW or FILE). Only what damage took of a file whose rest nobody can count has none.
   Each value is the same whatever the number of ranks that wrote it.

   The file may be an index, whose datasets are virtual ones over parts (io/tokens_part.h). It is
   read as any other, here and by every program that reads HDF5.

   A file is not trusted: opening checks every extent, offset and document number, reading checks
   every token id. Calls may come from any thread; those that reach HDF5 take io's one lock. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/content_digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_TOKENS_FORMAT_VERSION = 1,
    SP_TOKENS_MAX_STREAMS = 64,
    SP_STREAM_NAME_SIZE = 64 /* bytes of a stream's name, with its NUL */
};

/* ---- reading ---- */

typedef struct sp_tokens sp_tokens; /* opaque: an open file */

/* Opens `path`, a plain file or an index over parts, into *tokens, to be released by
   sp_tokens_close(). Loads the offsets and document numbers (8 bytes a segment for each and for
   each stream); ids stay in the file. SP_IO: it or a part, which is named, cannot be opened;
   SP_BAD_DATA: not such a file, or a part is damaged or of another run. */
SP_NODISCARD sp_status sp_tokens_open(sp_tokens **tokens, const char *path);
void sp_tokens_close(sp_tokens *tokens); /* NULL is fine */

const char *sp_tokens_path(const sp_tokens *tokens); /* borrowed until close */
size_t sp_tokens_n_segments(const sp_tokens *tokens);
size_t sp_tokens_n_documents(const sp_tokens *tokens); /* those without a segment included */
size_t sp_tokens_n_streams(const sp_tokens *tokens);   /* at least 1 */

/* The most tokens that a segment has in the stream that cut. */
size_t sp_tokens_segment_tokens(const sp_tokens *tokens);

/* Identity of the contents, 32 hexadecimal digits: segments, ids, document hashes, tokenizer
   digests; neither paths nor document ids. Borrowed until close, as all strings below. */
const char *sp_tokens_digest(const sp_tokens *tokens);

/* Files that the datasets lie in beside the file itself: 0, but for an index (io/tokens_part.h). */
size_t sp_tokens_n_parts(const sp_tokens *tokens);

/* The stream that was the position-th as the file was written; at 0 is the one that cuts. Indices
   of streams follow their names. */
size_t sp_tokens_stream_at(const sp_tokens *tokens, size_t position);

/* Finds a stream by name. SP_USAGE: there is none of that name; the message lists those there
   are. */
SP_NODISCARD sp_status sp_tokens_find_stream(const sp_tokens *tokens, const char *name,
                                             size_t *stream);
const char *sp_tokens_stream_name(const sp_tokens *tokens, size_t stream);
size_t sp_tokens_vocab_size(const sp_tokens *tokens, size_t stream);
const char *sp_tokens_tokenizer_digest(const sp_tokens *tokens, size_t stream);

/* Tokens of one segment in one stream; from memory. */
size_t sp_tokens_length(const sp_tokens *tokens, size_t stream, size_t segment);

/* Reads the ids of one segment to ids [sp_tokens_length()]. SP_BAD_DATA: an id beyond the
   vocabulary or a checksum that fails; the message names file, stream and segment. */
SP_NODISCARD sp_status sp_tokens_read(const sp_tokens *tokens, size_t stream, size_t segment,
                                      int32_t *ids);

/* The document of a segment, as its row in /documents, and the hash of that document's text. Two
   neighbours with one document follow each other in it. From memory. */
size_t sp_tokens_document(const sp_tokens *tokens, size_t segment);
uint64_t sp_tokens_document_hash(const sp_tokens *tokens, size_t segment);

/* The first segment of that document or of one behind it; their number, if there is none. */
size_t sp_tokens_first_segment(const sp_tokens *tokens, size_t document);

/* The hash of any document, as its row in /documents: those without a segment have one, too. */
uint64_t sp_tokens_hash(const sp_tokens *tokens, size_t document);

/* Reads a document's id into *id, owned. `document` is a row of /documents. */
SP_NODISCARD sp_status sp_tokens_document_id(const sp_tokens *tokens, size_t document, char **id);

/* Reads where a segment's text lies in its document. */
SP_NODISCARD sp_status sp_tokens_bytes(const sp_tokens *tokens, size_t segment,
                                       uint64_t *byte_begin, uint32_t *byte_len);

/* A document or a segment of the one before; pointers are borrowed until the next call. */
typedef struct sp_tokens_record {
    bool is_document;
    const char *id; /* of a document */
    uint64_t hash;
    uint64_t byte_begin; /* of a segment */
    uint32_t byte_len;
    const int32_t *const *ids; /* [n_streams] */
    const size_t *n_ids;       /* [n_streams] */
} sp_tokens_record;

/* Reads a file from begin to end, documents with their segments behind them, as its writer got
   them: streams by position. */
typedef struct sp_tokens_walk sp_tokens_walk; /* opaque */

/* Begins at the first document; `tokens` is borrowed until close. */
SP_NODISCARD sp_status sp_tokens_walk_open(sp_tokens_walk **walk, const sp_tokens *tokens);
void sp_tokens_walk_close(sp_tokens_walk *walk); /* NULL is fine */

/* Goes to a document; at most their number. */
void sp_tokens_walk_seek(sp_tokens_walk *walk, size_t document);

/* Reads the next record; *is_end, with *record untouched, after the last. Errors as of the
   functions above, which it is made of. */
SP_NODISCARD sp_status sp_tokens_walk_next(sp_tokens_walk *walk, sp_tokens_record *record,
                                           bool *is_end);

/* A row of /sources. */
typedef struct sp_tokens_source {
    char *path; /* owned where it was read */
    uint64_t n_bytes, n_documents;
} sp_tokens_source;

/* Reads the rows of /sources to *sources [*n], owned. */
SP_NODISCARD sp_status sp_tokens_sources(const sp_tokens *tokens, sp_tokens_source **sources,
                                         size_t *n);
void sp_tokens_sources_free(sp_tokens_source *sources, size_t n); /* NULL is fine */

/* What `slotpress inspect` shows, as a JSON object in *description, owned. */
SP_NODISCARD sp_status sp_tokens_describe(json_t **description, const char *path);

/* ---- writing ---- */

typedef struct sp_tokens_stream {
    const char *name;             /* letters, digits, '.', '_' and '-'; at most 63 */
    const char *tokenizer_digest; /* of the tokenizer's contents */
    size_t vocab_size;            /* ids are below */
} sp_tokens_stream;

typedef struct sp_tokens_writer sp_tokens_writer; /* opaque: a file in the making */

/* Begins the file `path` under a temporary name beside it. `streams` [n_streams] is copied; the
   first is the one that cuts. */
SP_NODISCARD sp_status sp_tokens_writer_open(sp_tokens_writer **writer, const char *path,
                                             size_t segment_tokens, const sp_tokens_stream *streams,
                                             size_t n_streams);

/* Appends a row of /sources. */
SP_NODISCARD sp_status sp_tokens_writer_source(sp_tokens_writer *writer, const char *path,
                                               uint64_t n_bytes, uint64_t n_documents);

/* Appends a row of /documents; the segments that follow are this document's. */
SP_NODISCARD sp_status sp_tokens_writer_document(sp_tokens_writer *writer, const char *id,
                                                 uint64_t hash);

/* Appends a segment of the last document: ids[s] [n_ids[s]] in stream s. */
SP_NODISCARD sp_status sp_tokens_writer_segment(sp_tokens_writer *writer, uint64_t byte_begin,
                                                uint32_t byte_len, const int32_t *const *ids,
                                                const size_t *n_ids);

/* Completes the file and gives it its name; the writer is released whatever the outcome, and on
   failure nothing is left under `path` that was not there before. */
SP_NODISCARD sp_status sp_tokens_writer_commit(sp_tokens_writer *writer);

/* Removes what was written and releases the writer; NULL is fine. */
void sp_tokens_writer_abort(sp_tokens_writer *writer);
