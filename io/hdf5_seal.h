/* A seal in front of an HDF5 file: a checksum of all of it, held before HDF5 reads a byte.

   HDF5 1.10 puts checksums on everything but its global heap, which is where the mappings of virtual
   datasets lie, and it trusts what it finds there. So an index is sealed: its user block (the bytes
   that HDF5 leaves alone in front of its own) says what the rest sums to (XXH3-128). To HDF5 and h5py
   it is a file like any other. For files in io/ only. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { SP_HDF5_SEAL_BYTES = 512 /* the least user block that HDF5 knows */ };

/* Seals the file temp_path, known as `path`, which is closed and has a user block of that size.
   SP_IO: cannot be read or written. */
SP_NODISCARD sp_status sp_hdf5_seal(const char *temp_path, const char *path);

/* Do a file's first n bytes, 8 or more, look like HDF5's, or like a seal's? */
bool sp_hdf5_begins(const char *begin, size_t n);

/* Holds a file against its seal, which *is_sealed says whether it has. SP_BAD_DATA: it does not fit, or
   the file does not begin as HDF5's do, nor with a seal; SP_IO: cannot be read. */
SP_NODISCARD sp_status sp_hdf5_check_seal(bool *is_sealed, const char *path);
