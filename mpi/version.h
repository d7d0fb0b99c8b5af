/* Which MPI library is in use. */
#pragma once

#include <stddef.h>

/* Writes its name and version, "Open MPI v4.1.4", to text [size]. MPI need not have begun. */
void sp_mpi_version(char *text, size_t size);
