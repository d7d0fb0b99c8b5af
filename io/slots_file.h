/* Slot files: what a compressor made of documents, for a decoder to read in place of their text.

       /                     format "slotpress-slots", format_version, space ("memory": the encoder's
                             rows, the converter still to come, or "slots": the decoder's), dtype
                             ("f16" | "bf16" | "int8"), d, ratio, compressor_digest, refined (steps),
                             has_text (0 | 1), digest (of the contents), job_digest (of the command
                             that wrote it)
       /slots/values         f16 as IEEE half, bf16 as u16, int8 as i8 [n_slots, d]
       /slots/scale          f32 [n_slots]      int8 only: a slot is its values times its scale
       /segments/doc         u64 [n_segments]   row of /documents, never falling
       /segments/byte_begin  u64 [n_segments]   in the document's text
       /segments/byte_len    u32 [n_segments]
       /segments/tokens      u32 [n_segments]   of the encoder
       /segments/slot_begin  u64 [n_segments]   first row in /slots/values; a segment's slots end
                                                where the next one's begin
       /segments/text_begin  u64 [n_segments]   with text: its first byte in /text/bytes, where it
                                                has byte_len bytes
       /text/bytes           u8  [n_bytes]      with text
       /documents/id         UTF-8 [n_documents]
       /documents/hash       u64 [n_documents]  XXH3-64 of the document's bytes; 0: nobody took them
       /documents/by_id      u64 [n_documents, 2]  XXH3-64 of an id, and its document, sorted: where
                                                an id is looked up (io/slots_lookup.h); files of
                                                earlier versions have none, and are searched

   The names after / are attributes. Datasets are little-endian, chunked and checksummed
   (Fletcher32); strings have a fixed length, padded with NUL. /documents has a row for every input
   document in order, those without segments too. The file may be an index, whose datasets are
   virtual ones over parts (io/slots_parts.h). It is read as any other, here and by every program
   that reads HDF5. A file is not trusted: opening checks every extent and every row of /segments,
   and that each part is there. Calls that reach HDF5 take io's one lock. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/slots_dtype.h"

#include <stddef.h>
#include <stdint.h>

enum { SP_SLOTS_FORMAT_VERSION = 1 };

typedef enum sp_slots_space { SP_SLOTS_MEMORY, SP_SLOTS_DECODER } sp_slots_space;

typedef struct sp_slots_info {
    sp_slots_space space;
    sp_slots_dtype dtype;
    size_t d;                      /* values a slot */
    double ratio;                  /* encoder tokens for a slot */
    const char *compressor_digest; /* of the weights that wrote it */
    bool has_text;
    size_t n_refinements;   /* steps that each segment's slots were improved by; 0: none */
    const char *job_digest; /* at most 63 bytes; NULL: none */
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

/* Opens `path` into *slots, to be released by sp_slots_close(). All segments are read once and
   checked; they stay in the file, as values do, but for a block of them. SP_IO: it or a part, which is named, cannot be opened; SP_BAD_DATA:
   not such a file, or a part is damaged or of another run. */
SP_NODISCARD sp_status sp_slots_open(sp_slots **slots, const char *path);
void sp_slots_close(sp_slots *slots); /* NULL is fine */

/* Borrowed until close, its strings too. */
const sp_slots_info *sp_slots_get_info(const sp_slots *slots);
const char *sp_slots_digest_of(const sp_slots *slots); /* of the contents, 32 hexadecimal digits */
size_t sp_slots_n_documents(const sp_slots *slots);
size_t sp_slots_n_segments(const sp_slots *slots);
size_t sp_slots_n_slots(const sp_slots *slots);
size_t sp_slots_n_parts(const sp_slots *slots); /* files beside it: 0, but for an index */

/* Reads a segment into *out. Fast for one near the last that was read. SP_IO, SP_BAD_DATA: the file is not
   what it was when it was opened. */
SP_NODISCARD sp_status sp_slots_get_segment(const sp_slots *slots, size_t segment,
                                            sp_slots_segment *out);

/* Finds a document by id: its segments are [*segment_begin, *segment_end), none if it has no text.
   Of documents with the same id the first is taken. Some chunks of the file are read, however many
   documents it has, and all ids only where it is not there. SP_USAGE: there is no such document; SP_BAD_DATA: what leads to it is damaged. */
SP_NODISCARD sp_status sp_slots_find_document(const sp_slots *slots, const char *id,
                                              size_t *segment_begin, size_t *segment_end);

/* Finds the row of /documents of an id in the same way; *document is their number if there is none. */
SP_NODISCARD sp_status sp_slots_find_id(const sp_slots *slots, const char *id, size_t *document);

/* The segments of a row of /documents: [*segment_begin, *segment_end). Errors as above. */
SP_NODISCARD sp_status sp_slots_document_segments(const sp_slots *slots, size_t document,
                                                  size_t *segment_begin, size_t *segment_end);

/* Reads a document's id into *id, owned, or its hash. `document` is a row of /documents. */
SP_NODISCARD sp_status sp_slots_document_id(const sp_slots *slots, size_t document, char **id);
SP_NODISCARD sp_status sp_slots_document_hash(const sp_slots *slots, size_t document,
                                              uint64_t *hash);

/* Reads slots [begin, begin + n) as f32 to out [n, d]. SP_BAD_DATA: damaged, or not finite. */
SP_NODISCARD sp_status sp_slots_read(const sp_slots *slots, size_t begin, size_t n, float *out);

/* The same as they are stored: values [n, d] of the file's type, and where it has them scales [n]
   (else it may be NULL). */
SP_NODISCARD sp_status sp_slots_read_packed(const sp_slots *slots, size_t begin, size_t n,
                                            void *values, float *scales);

/* Reads the text of a segment to text [byte_len] of a file that has it. */
SP_NODISCARD sp_status sp_slots_read_text(const sp_slots *slots, size_t segment, char *text);

/* What `slotpress inspect` shows, as a JSON object in *description, owned. */
SP_NODISCARD sp_status sp_slots_describe(json_t **description, const char *path);

/* Describes one document in the same way, with its segments. Errors as of sp_slots_find_document(). */
SP_NODISCARD sp_status sp_slots_describe_document(json_t **description, const char *path,
                                                  const char *id);

/* Is `path` there, and a slot file that the job of that digest wrote? Looks at the file alone. */
SP_NODISCARD bool sp_slots_is_of_job(const char *path, const char *job_digest);

/* ---- writing ---- */

typedef struct sp_slots_writer sp_slots_writer; /* opaque: a file in the making */

/* A segment as it is stored. */
typedef struct sp_slots_written {
    uint64_t byte_begin; /* in the document's text */
    uint32_t byte_len, n_tokens;
    size_t n_slots;
    const void *values;  /* [n_slots, d] of sp_slots_pack() */
    const float *scales; /* [n_slots], where the type has them */
    const char *text;    /* [byte_len], if the file has text */
} sp_slots_written;

/* Begins the file `path` under a temporary name beside it. `info` is copied. */
SP_NODISCARD sp_status sp_slots_writer_open(sp_slots_writer **writer, const char *path,
                                            const sp_slots_info *info);

/* Appends a document; the segments that follow are this document's. */
SP_NODISCARD sp_status sp_slots_writer_document(sp_slots_writer *writer, const char *id,
                                                uint64_t hash);

/* Appends a segment of the last document. */
SP_NODISCARD sp_status sp_slots_writer_segment(sp_slots_writer *writer,
                                               const sp_slots_written *segment);

/* Completes the file and gives it its name; the writer is released whatever the outcome, and on
   failure nothing is left under `path` that was not there before. */
SP_NODISCARD sp_status sp_slots_writer_commit(sp_slots_writer *writer);

/* Removes what was written and releases the writer; NULL is fine. */
void sp_slots_writer_abort(sp_slots_writer *writer);

/* ---- both ---- */

/* Writes the contents of `input`, in parts or not, as the plain file `output`: the same bytes as one
   writer would have written. SP_BAD_DATA: `input` is damaged, or not what its digest says. */
SP_NODISCARD sp_status sp_slots_merge(const char *output, const char *input);

/* Reads everything in an open file: checksums, values, byte ranges of a document against each other,
   and all of it against the file's digest. SP_BAD_DATA: something is not as it was written. */
SP_NODISCARD sp_status sp_slots_verify(const sp_slots *slots);
