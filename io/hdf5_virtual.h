/* Virtual datasets of one dimension: their rows lie in datasets of the same name in other files,
   named relative to their own. For files in io/ only; called with io's lock held. */
#pragma once

#include "io/hdf5_internal.h"

enum { SP_HDF5_PART_NAME_SIZE = 320 /* bytes of a part's name, with its NUL */ };

/* Rows [begin, begin + n) of the whole are rows [part_begin, part_begin + n) of the part. */
typedef struct sp_hdf5_piece {
    size_t begin, n;
    size_t part; /* index into the parts' names */
    size_t part_begin;
} sp_hdf5_piece;

/* Creates the virtual dataset `name` of n_rows rows from `pieces` [n_pieces], in rising order;
   part_rows[part] is the length of that part's dataset. Neighbours that follow each other in one
   part become one mapping; rows without a piece read as 0. The type is borrowed. */
SP_NODISCARD sp_status sp_hdf5_write_virtual(const sp_hdf5_file *file, const char *name, hid_t type,
                                             size_t n_rows, const sp_hdf5_piece *pieces,
                                             size_t n_pieces, char *const *part_names,
                                             const size_t *part_rows);

/* Names of parts, each once. All zero: none. */
typedef struct sp_hdf5_parts {
    char **names; /* [n], owned */
    size_t n;
} sp_hdf5_parts;
void sp_hdf5_parts_free(sp_hdf5_parts *parts);

/* Where the rows of a dataset lie. */
typedef struct sp_hdf5_rows {
    size_t n;
    sp_hdf5_piece *pieces; /* [n_pieces], owned, in rising order */
    size_t n_pieces;
} sp_hdf5_rows; /* all zero: none */
void sp_hdf5_rows_free(sp_hdf5_rows *rows);

/* Reads the mappings of the dataset `name` if it is a virtual one, which *is_virtual tells; names
   of parts that are new are added to *parts. SP_BAD_DATA: no dataset; a virtual one not of one
   dimension; a mapping that is no range, that names another dataset, or a file outside the folder;
   mappings that overlap or do not cover every row from first_row on. */
SP_NODISCARD sp_status sp_hdf5_read_virtual(bool *is_virtual, sp_hdf5_rows *rows,
                                            sp_hdf5_parts *parts, const sp_hdf5_file *file,
                                            const char *name, size_t first_row);
