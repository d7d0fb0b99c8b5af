/* Documents from text shards, one at a time.

       NAME.txt      one document, as it is
       NAME.jsonl    one JSON object a line, its text in the string field `text`; an `id` (string or
                     integer) is the document's id. Blank lines are no documents.
       NAME.parquet  one row a document, its text in the column `text`, its id in the column `id`,
                     if there is one of strings or integers

   the first two also compressed as .gz (all members) or .zst (all frames). Bytes that are not UTF-8
   are kept as they are, in JSON strings and in Parquet too. A document without text is delivered
   with 0 bytes; one whose text is null is damage. Other fields can be asked conditions, which choose
   the documents; a .txt has none. Whoever numbers documents asks for those too that are not wanted,
   and for the rows that damage took: a line that is not blank, a row or a .txt is a document
   whatever becomes of it.

   A shard is read as a whole or by **units**, which are independent of each other and together make
   the whole, in order: a row group of a .parquet; a range of bytes of a .jsonl that is not packed,
   which is the lines that begin in it; else the file.

   Memory: one line or text file and a buffer; of Parquet some pages. A line or text of
   SP_TEXT_MOST_BYTES or more, and a page that takes more than SP_PARQUET_MOST_BYTES, is damage, so
   that memory is bounded whatever the file. */
#pragma once

#include "base/status.h"
#include "io/condition.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_TEXT_MOST_BYTES = (1 << 28) - 1, /* the buffer doubles, and keeps one byte free */
    /* A page is held twice while it is unpacked: texts of 100 MB fit, and a process stays well below
       512 MB. */
    SP_PARQUET_MOST_BYTES = 220 << 20
};

typedef struct sp_document {
    const char *text; /* [n_bytes], not terminated; borrowed until the next call on the reader */
    size_t n_bytes;
    const char *id; /* the input's own, else FILE:LINE (.jsonl), FILE:ROW (.parquet) or FILE (.txt),
                        FILE being the path as it was given; borrowed likewise */
    bool has_own_id;  /* the id is the input's */
    bool is_unwanted; /* a condition failed: there is no text; only if that is asked for */
    uint64_t row;     /* line or row, from 1 in the file; 0 where nobody needed to count: in a range
                         of bytes that does not begin the file, if the document has its own id */
} sp_document;

/* Whose line counts in the file, in a range of bytes whose unit does not say how many lines lie
   before it: to count them reads the file up to there. Elsewhere every row is known. */
typedef enum sp_text_rows {
    SP_ROWS_NEEDED,    /* of damage, and of documents without an id, which is made of it */
    SP_ROWS_OF_DAMAGE, /* made-up ids are of no use then */
    SP_ROWS_UNNEEDED   /* messages count lines from the range's first on */
} sp_text_rows;

typedef struct sp_text_options {
    const char *column;         /* the field of the text, borrowed until close; NULL: "text" */
    const sp_conditions *where; /* borrowed until close; NULL: every document is wanted */
    bool gives_unwanted;        /* documents for which a condition fails come too, without text */
    sp_text_rows rows;
} sp_text_options;

/* Part of a shard: row groups [begin, end) of a .parquet, bytes [begin, end) of a .jsonl. */
typedef struct sp_text_unit {
    uint64_t begin, end; /* 0 and UINT64_MAX: the whole file, of any kind */
    uint64_t n_bytes;    /* what it takes to read it, for sharing work: of text before compression
                            (.parquet, as its footer says), else as they lie on the disk */
    uint64_t n_rows;     /* in it, as a footer says; 0: not known */
    uint64_t n_rows_before; /* lines of the file before the first that begins in it, for whoever
                               knows; 0: not known */
} sp_text_unit;

/* What a failure with SP_BAD_DATA took with it; what follows can be read. */
typedef enum sp_text_loss {
    SP_LOST_ROW,   /* one line or row */
    SP_LOST_GROUP, /* the rest of a row group */
    SP_LOST_FILE   /* the rest of the file */
} sp_text_loss;

typedef struct sp_text_reader sp_text_reader; /* opaque */

/* Opens a unit of `path`, or with NULL the whole of it, into *reader, to be released by
   sp_text_reader_close(). `options` may be NULL. SP_BAD_DATA: none of the extensions above, not of
   the format that its name says, or without the columns that are asked for; SP_IO: cannot be opened;
   SP_USAGE: conditions on a .txt, or a .parquet in a build that cannot read it. */
SP_NODISCARD sp_status sp_text_reader_open(sp_text_reader **reader, const char *path,
                                           const sp_text_unit *unit,
                                           const sp_text_options *options);
void sp_text_reader_close(sp_text_reader *reader); /* NULL is fine */

/* Reads the next document that is wanted, or asked for all the same; *end is true, and *document untouched,
   after the last. SP_BAD_DATA: a line or row that holds no text, a file that is damaged or ends too
   early; the message names the file and the line, row or offset. Whoever goes on after it reads
   what is left. */
SP_NODISCARD sp_status sp_text_reader_next(sp_text_reader *reader, sp_document *document,
                                           bool *end);

/* After SP_BAD_DATA of sp_text_reader_next(). */
sp_text_loss sp_text_reader_loss(const sp_text_reader *reader);

/* Likewise: the first row that was lost, in *row, from 1 in the file, and how many in *n_rows. 1 of a
   row and of a .txt; the rest of a row group; 0 of other files, where nobody knows. */
void sp_text_reader_lost_rows(const sp_text_reader *reader, uint64_t *row, uint64_t *n_rows);

/* The id that is made up for a row: FILE:LINE, FILE:ROW or FILE. Borrowed until the next call. */
const char *sp_text_reader_row_id(sp_text_reader *reader, uint64_t row);

/* Lines passed so far, blank ones too, from the unit's first on; 0 of a .parquet. */
uint64_t sp_text_reader_n_lines(const sp_text_reader *reader);

/* Lines or rows passed over so far because a condition failed. */
uint64_t sp_text_reader_n_unwanted(const sp_text_reader *reader);

/* Lists the units of `path`, in order, into *units [*n], owned: release with free(). A .jsonl that
   is not packed gives ranges of range_bytes (at least 1). Of a .parquet the footer is read. Errors as
   those of sp_text_reader_open(). */
SP_NODISCARD sp_status sp_text_units(sp_text_unit **units, size_t *n, const char *path,
                                     uint64_t range_bytes, const sp_text_options *options);

/* Does the name end in one of the extensions above? */
bool sp_text_has_known_name(const char *path);

/* Checks that `path` has an extension that is known (SP_BAD_DATA) and that this build reads
   (SP_USAGE), and is a regular file (SP_IO), and returns its size on disk in bytes. */
SP_NODISCARD sp_status sp_text_file_size(const char *path, uint64_t *n_bytes);
