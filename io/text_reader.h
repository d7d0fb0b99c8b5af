/* Documents from text shards, one at a time.

       NAME.txt     one document, as it is
       NAME.jsonl   one JSON object a line, its text in the string field `text`; an `id` (string or
                    integer) is the document's id. Blank lines are no documents.

   each also compressed as .gz (all members) or .zst (all frames). Bytes that are not UTF-8 are kept
   as they are, in JSON strings too. A document without text is delivered with 0 bytes. Memory: one
   line or text file, and a buffer. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_document {
    const char *text; /* [n_bytes], not terminated; borrowed until the next call on the reader */
    size_t n_bytes;
    const char *id;  /* the input's own, else FILE:LINE (.jsonl) or FILE (.txt), FILE being the path
                        as it was given; borrowed likewise */
    bool has_own_id; /* the id is the input's */
    uint64_t line;   /* from 1 in the file */
} sp_document;

typedef struct sp_text_reader sp_text_reader; /* opaque */

/* Opens `path` into *reader, to be released by sp_text_reader_close(). SP_BAD_DATA: none of the
   extensions above; SP_IO: cannot be opened. */
SP_NODISCARD sp_status sp_text_reader_open(sp_text_reader **reader, const char *path);
void sp_text_reader_close(sp_text_reader *reader); /* NULL is fine */

/* Reads the next document; *end is true, and *document untouched, after the last. SP_BAD_DATA: a
   line that is no JSON object with a string `text` (file and line are named), a compressed file
   that is damaged or ends too early. */
SP_NODISCARD sp_status sp_text_reader_next(sp_text_reader *reader, sp_document *document,
                                           bool *end);

/* Checks that `path` has an extension that is known (SP_BAD_DATA) and is a regular file (SP_IO), and
   returns its size on disk in bytes. */
SP_NODISCARD sp_status sp_text_file_size(const char *path, uint64_t *n_bytes);
