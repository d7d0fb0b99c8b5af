/* Slot files: what a compressor made of documents, for a decoder to read in place of their text.

       /                     format "slotpress-slots", format_version, space ("memory": the encoder's rows, the converter still to come, or
                             "slots": the decoder's), dtype ("f16" | "bf16"), d, ratio,
                             compressor_digest
       /slots/values         f16 as IEEE half, bf16 as u16 [n_slots, d]
       /segments/doc         u64 [n_segments]   row of /documents, never falling
       /segments/byte_begin  u64 [n_segments]   in the document's text
       /segments/byte_len    u32 [n_segments]
       /segments/tokens      u32 [n_segments]   of the encoder
       /segments/slot_begin  u64 [n_segments]   first row in /slots/values; a segment's slots end
                                                where the next one's begin
       /documents/id         UTF-8 [n_documents]
       /documents/hash       u64 [n_documents]  XXH3-64 of the document's bytes

   The names after / are attributes. Datasets are little-endian, chunked and checksummed
   (Fletcher32); strings have a fixed length, padded with NUL. A file is not trusted: opening checks
   every extent and every row of /segments. Calls that reach HDF5 take io's one lock. */
#pragma once

#include "base/json.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SP_SLOTS_FORMAT_VERSION = 1 };

typedef enum sp_slots_space { SP_SLOTS_MEMORY, SP_SLOTS_DECODER } sp_slots_space;
typedef enum sp_slots_dtype { SP_SLOTS_F16, SP_SLOTS_BF16 } sp_slots_dtype;

typedef struct sp_slots_info {
    sp_slots_space space;
    sp_slots_dtype dtype;
    size_t d;                      /* values a slot */
    double ratio;                  /* encoder tokens for a slot */
    const char *compressor_digest; /* of the weights that wrote it */
} sp_slots_info;

typedef struct sp_slots_segment {
    uint64_t doc;        /* row of /documents */
    uint64_t byte_begin; /* in the document's text */
    uint32_t byte_len;
    uint32_t n_tokens; /* of the encoder */
    size_t slot_begin, n_slots;
} sp_slots_segment;

/* ---- reading ---- */

typedef struct sp_slots sp_slots; /* opaque: an open file */

/* Opens `path` into *slots, to be released by sp_slots_close(); the segments are loaded, values
   stay in the file. SP_IO: cannot be opened; SP_BAD_DATA: not such a file. */
SP_NODISCARD sp_status sp_slots_open(sp_slots **slots, const char *path);
void sp_slots_close(sp_slots *slots); /* NULL is fine */

/* Borrowed until close, its string too. */
const sp_slots_info *sp_slots_get_info(const sp_slots *slots);
size_t sp_slots_n_documents(const sp_slots *slots);
size_t sp_slots_n_segments(const sp_slots *slots);
size_t sp_slots_n_slots(const sp_slots *slots);
sp_slots_segment sp_slots_get_segment(const sp_slots *slots, size_t segment);

/* Finds a document by id: its segments are [*segment_begin, *segment_end), none if it has no text.
   Of documents with the same id the first is taken. SP_USAGE: there is no such document. */
SP_NODISCARD sp_status sp_slots_find_document(const sp_slots *slots, const char *id,
                                              size_t *segment_begin, size_t *segment_end);

/* The segments of a row of /documents: [*segment_begin, *segment_end). */
void sp_slots_document_segments(const sp_slots *slots, size_t document, size_t *segment_begin,
                                size_t *segment_end);

/* Reads a document's id into *id, owned. `document` is a row of /documents. */
SP_NODISCARD sp_status sp_slots_document_id(const sp_slots *slots, size_t document, char **id);

/* Reads slots [begin, begin + n) as f32 to out [n, d]. SP_BAD_DATA: damaged, or not finite. */
SP_NODISCARD sp_status sp_slots_read(const sp_slots *slots, size_t begin, size_t n, float *out);

/* What `slotpress inspect` shows, as a JSON object in *description, owned. */
SP_NODISCARD sp_status sp_slots_describe(json_t **description, const char *path);

/* ---- writing ---- */

typedef struct sp_slots_writer sp_slots_writer; /* opaque: a file in the making */

/* Begins the file `path` under a temporary name beside it. `info` is copied. */
SP_NODISCARD sp_status sp_slots_writer_open(sp_slots_writer **writer, const char *path,
                                            const sp_slots_info *info);

/* Appends a document; the segments that follow are this document's. */
SP_NODISCARD sp_status sp_slots_writer_document(sp_slots_writer *writer, const char *id,
                                                uint64_t hash);

/* Appends a segment of the last document, of n_tokens encoder tokens, with its slots [n_slots, d].
   Values beyond an f16's range are SP_NUMERIC, as are those that are not finite. */
SP_NODISCARD sp_status sp_slots_writer_segment(sp_slots_writer *writer, uint64_t byte_begin,
                                               uint32_t byte_len, uint32_t n_tokens,
                                               const float *slots, size_t n_slots);

/* Completes the file and gives it its name; the writer is released whatever the outcome, and on
   failure nothing is left under `path` that was not there before. */
SP_NODISCARD sp_status sp_slots_writer_commit(sp_slots_writer *writer);

/* Removes what was written and releases the writer; NULL is fine. */
void sp_slots_writer_abort(sp_slots_writer *writer);
