/* Columns of a file of ours, each a dataset in the file itself or a virtual one over parts in other
   files (io/hdf5_virtual.h): read the same way.

   Parts are read directly. HDF5 reads virtual datasets, too, but holds each read against every
   mapping, and takes rows of a missing part for 0. At most some hundred parts are open at a time.
   For files in io/ only; called with io's lock held. */
#pragma once

#include "io/hdf5_virtual.h"

typedef struct sp_hdf5_table sp_hdf5_table; /* opaque */

/* Opens the file `path` for reading. Errors as of sp_hdf5_open(). */
SP_NODISCARD sp_status sp_hdf5_table_open(sp_hdf5_table **table, const char *path);
void sp_hdf5_table_close(sp_hdf5_table *table); /* NULL is fine */

/* The file itself, for what is no column. Borrowed. */
const sp_hdf5_file *sp_hdf5_table_file(const sp_hdf5_table *table);

/* Adds the dataset `name`, of one dimension, as a column and returns its index and number of rows.
   Where it is virtual, rows before first_row may be without a part. cache_bytes: for chunks that
   stay unpacked between reads, all parts together; 0: the column will only be loaded. */
SP_NODISCARD sp_status sp_hdf5_table_add(sp_hdf5_table *table, size_t *column, size_t *n_rows,
                                         const char *name, sp_hdf5_kind kind, size_t first_row,
                                         size_t cache_bytes);

/* After all columns are added: opens every part once, and holds it against what the file says: its
   attribute `format`; its attribute `digest` against the file's of the name that digest_format
   ("…%s") makes of the part's; its extents against the mappings. Both texts are static. The first
   error names the part. */
SP_NODISCARD sp_status sp_hdf5_table_check(sp_hdf5_table *table, const char *format,
                                           const char *digest_format);

/* The files that columns lie in beside the file itself. */
size_t sp_hdf5_table_n_parts(const sp_hdf5_table *table);

/* Reads rows [begin, begin + n), each with a part, of a column of numbers to out [n]; n may be
   0. */
SP_NODISCARD sp_status sp_hdf5_table_read(sp_hdf5_table *table, size_t column, size_t begin,
                                          size_t n, void *out);

/* Reads one row of a column of strings into *text, owned and terminated. */
SP_NODISCARD sp_status sp_hdf5_table_string(sp_hdf5_table *table, size_t column, size_t row,
                                            char **text);

/* Reads a whole column of numbers into *out, owned; rows without a part are 0. */
SP_NODISCARD sp_status sp_hdf5_table_load(sp_hdf5_table *table, size_t column, void **out);
