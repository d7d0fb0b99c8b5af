/* The rows of /segments of an open slot file, a block of them in memory at a time, however many there
   are. For files in io/ only; called with io's lock held. */
#pragma once

#include "io/hdf5_table.h"
#include "io/slots_file.h"

enum {
    SP_SLOTS_ROW_DOC,
    SP_SLOTS_ROW_BYTE_BEGIN,
    SP_SLOTS_ROW_SLOT_BEGIN,
    SP_SLOTS_ROW_BYTE_LEN,
    SP_SLOTS_ROW_TOKENS,
    SP_SLOTS_ROW_TEXT_BEGIN, /* last: only with text */
    SP_SLOTS_ROW_COLUMNS
};

typedef struct sp_slots_rows {
    sp_hdf5_table *table; /* borrowed, as the path */
    const char *path;
    bool has_text;
    size_t n, n_slots; /* of the file */
    size_t columns[SP_SLOTS_ROW_COLUMNS];
    uint64_t *docs;            /* [n_blocks] of each block's first segment, owned */
    struct sp_slots_block *at; /* the block that was read last, owned */
} sp_slots_rows;               /* all zero: none */

/* Adds the columns to the table, whose file has n_slots slots. SP_BAD_DATA: they differ in length. */
SP_NODISCARD sp_status sp_slots_rows_add(sp_slots_rows *rows, sp_hdf5_table *table,
                                         const char *path, bool has_text, size_t n_slots);
void sp_slots_rows_free(sp_slots_rows *rows);

/* Reads all once, after sp_hdf5_table_check(): documents never fall, slots and texts follow each other
   from 0, and text ranges can be added up. SP_BAD_DATA names the segment. */
SP_NODISCARD sp_status sp_slots_rows_check(sp_slots_rows *rows, size_t n_documents,
                                           size_t n_text_bytes);

/* Reads a segment; *text_begin, unless it is NULL, is where its text begins in a file that has it. */
SP_NODISCARD sp_status sp_slots_rows_get(const sp_slots_rows *rows, size_t segment,
                                         sp_slots_segment *out, uint64_t *text_begin);

/* Finds the first segment whose document is `document` or a later one; n if there is none. */
SP_NODISCARD sp_status sp_slots_rows_first(const sp_slots_rows *rows, uint64_t document,
                                           size_t *segment);
