/* Which compression libraries are in use; io/hdf5_file.h tells HDF5's version. */
#pragma once

#include <stddef.h>

/* Write a library's version to text [size]. */
void sp_zlib_version(char *text, size_t size);
void sp_zstd_version(char *text, size_t size);
