/* Datasets that grow: values are appended and written a chunk at a time. For files in io/ only;
   called with io's lock held. */
#pragma once

#include "io/hdf5_internal.h"

#include <stdio.h>

/* Numbers of any kind: [n] or [n, row_items]. */
typedef struct sp_hdf5_column {
    hid_t id, type;           /* owned */
    const sp_hdf5_file *file; /* borrowed */
    char *name;               /* owned */
    size_t row_items, row_bytes;
    size_t chunk_rows;
    char *buffer; /* [chunk_rows, row_bytes], owned */
    size_t n_buffered;
    uint64_t n_written; /* rows in the file */
} sp_hdf5_column;

#define SP_HDF5_NO_COLUMN \
    (sp_hdf5_column) { .id = H5I_INVALID_HID, .type = H5I_INVALID_HID }

/* Creates the dataset `name`, empty. row_items 0: one dimension. */
SP_NODISCARD sp_status sp_hdf5_column_create(sp_hdf5_column *column, const sp_hdf5_file *file,
                                             const char *name, sp_hdf5_kind kind, size_t row_items,
                                             bool is_compressed);

/* Appends rows, which lie in memory as in the file. */
SP_NODISCARD sp_status sp_hdf5_column_append(sp_hdf5_column *column, const void *rows, size_t n);

/* Writes what is still buffered. */
SP_NODISCARD sp_status sp_hdf5_column_finish(sp_hdf5_column *column);
void sp_hdf5_column_release(sp_hdf5_column *column);

/* Strings, whose longest decides the dataset's type: they wait in an unnamed file beside `path`
   until the end. */
typedef struct sp_hdf5_strings {
    FILE *waiting; /* owned: u32 n_bytes, bytes; for each string */
    const char *path;
    size_t n, longest;
} sp_hdf5_strings; /* all zero: none */

SP_NODISCARD sp_status sp_hdf5_strings_begin(sp_hdf5_strings *strings, const char *path);

/* Appends one of at most SP_HDF5_MAX_STRING bytes; longer is SP_BAD_DATA. */
SP_NODISCARD sp_status sp_hdf5_strings_append(sp_hdf5_strings *strings, const char *text);

/* Writes them as the dataset `name`. */
SP_NODISCARD sp_status sp_hdf5_strings_finish(sp_hdf5_strings *strings, const sp_hdf5_file *file,
                                              const char *name);
void sp_hdf5_strings_release(sp_hdf5_strings *strings);
