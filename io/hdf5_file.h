/* HDF5 for the rest of the program: which one is in use. All else about it stays inside io/. */
#pragma once

#include <stddef.h>

/* Writes the version of the HDF5 library in use, "1.10.8", to text [size]. */
void sp_hdf5_version(char *text, size_t size);
