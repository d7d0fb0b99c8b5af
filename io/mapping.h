/* A whole file in memory, read-only and by demand: a page costs nothing until it is touched, and
   processes of one node share it.

   A file that is cut short while it is mapped kills its readers (SIGBUS); files that others publish
   are replaced, not rewritten. */
#pragma once

#include "base/status.h"

#include <stddef.h>

typedef struct sp_mapping {
    const unsigned char *data; /* [n_bytes], owned */
    size_t n_bytes;
} sp_mapping; /* all zero: none */

/* Maps `path`, a regular file; an empty one gives an empty mapping. SP_IO: cannot be opened or
   mapped; SP_BAD_DATA: not a regular file. *mapping is untouched then. */
SP_NODISCARD sp_status sp_mapping_open(sp_mapping *mapping, const char *path);
void sp_mapping_close(sp_mapping *mapping); /* an empty one is fine */

/* Gives the process's pages back, after a reading that is not repeated: none is resident until it is
   touched again, and comes then from the system's cache or the disk. */
void sp_mapping_give_back(const sp_mapping *mapping);
