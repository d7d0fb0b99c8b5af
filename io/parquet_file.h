/* Rows of chosen columns of a Parquet file, one row group at a time.

   Read by Arrow's C++ library, which is loaded with the first file (parquet_calls.h). Where that is
   not possible, because the build found no Arrow or the machine has none, sp_parquet_open() refuses.

   Memory: for each column that is read one page and a buffer of 1 MiB, never a whole column of a
   row group; at most `most_bytes` in all as far as the library can tell. Page checksums are
   verified where the writer left them. No thread takes part but the caller's; one file is used by
   one thread at a time. */
#pragma once

#include "base/status.h"
#include "io/field.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_parquet sp_parquet; /* opaque: an open file */

/* What a column holds: SP_FIELD_TEXT (string, large_string, binary, a dictionary of them),
   SP_FIELD_INTEGER (up to 64 bits with a sign, up to 32 without), SP_FIELD_REAL (32 or 64 bits), or
   SP_FIELD_OTHER, which cannot be read. */
typedef struct sp_parquet_column {
    size_t index;
    sp_field_type type;
} sp_parquet_column;

/* Can Arrow be loaded? */
bool sp_parquet_is_supported(void);
const char *sp_parquet_library(void); /* its version, static; "none" */

/* Opens `path` into *file, to be released by sp_parquet_close(), and reads its footer. SP_IO: cannot
   be opened or read; SP_BAD_DATA: not a Parquet file, or its footer is damaged; SP_USAGE: there
   is no Arrow. The message names the file. */
SP_NODISCARD sp_status sp_parquet_open(sp_parquet **file, const char *path, size_t most_bytes);
void sp_parquet_close(sp_parquet *file); /* NULL is fine */

size_t sp_parquet_n_groups(const sp_parquet *file);

/* From here on a message does not name the file: the caller does. */

/* Finds a column by its name (dotted, if it is inside a struct); *is_found is false where the file
   has none. */
SP_NODISCARD sp_status sp_parquet_find(const sp_parquet *file, const char *name,
                                       sp_parquet_column *column, bool *is_found);

/* The rows of a row group, or the values of one of its columns if they are fewer, and the column's
   bytes before compression, from the footer, which nothing vouches for. SP_BAD_DATA: not even plausible. */
SP_NODISCARD sp_status sp_parquet_group_size(const sp_parquet *file, size_t group, size_t column,
                                             uint64_t *n_rows, uint64_t *n_bytes);

/* Goes to the first row of a row group, of which columns [n_columns] are to be read, none of them of
   SP_FIELD_OTHER. SP_BAD_DATA: the group is damaged, or packed in a way that is not known. */
SP_NODISCARD sp_status sp_parquet_begin(sp_parquet *file, size_t group,
                                        const sp_parquet_column *columns, size_t n_columns);

/* Reads the next row to row [n_columns]; *end is true, and `row` untouched, after the group's last.
   A text is borrowed until the next call on `file`. SP_BAD_DATA: the group is damaged, or needs more
   than the most bytes: no more rows of it can be read, while other groups can. SP_IO: the system
   could not read. */
SP_NODISCARD sp_status sp_parquet_next(sp_parquet *file, sp_field *row, bool *end);
