/* Which libraries for foreign files are in use; io/hdf5_file.h tells HDF5's version. */
#pragma once

#include <stddef.h>

/* Write a library's version to text [size]. */
void sp_zlib_version(char *text, size_t size);
void sp_zstd_version(char *text, size_t size);
void sp_libcrypto_version(char *text, size_t size);
void sp_arrow_version(char *text, size_t size); /* "none": this build reads no Parquet */
