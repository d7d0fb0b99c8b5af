/* SHA-256 sums of files, as `sha256sum` lists and checks them.

       0123...ef  data/000_00000.parquet      64 hexadecimal digits, a blank, ' ' or '*', the name
       \0123...ef  a\nb.txt                   the same, with \n, \r and \\ in the name escaped

   A listed name stands for a file whose path, made absolute, ends in it at the border of a folder's
   name: `000_00000.parquet` and `data/000_00000.parquet` both do for /corpus/data/000_00000.parquet.
   Of several that do, the longest counts. Links are not followed for this. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_checksums sp_checksums; /* opaque */

/* Reads the list `path` into *checksums, to be released by sp_checksums_close(). SP_IO: cannot be
   read; SP_BAD_DATA: a line that is not of the form above, or none at all. */
SP_NODISCARD sp_status sp_checksums_open(sp_checksums **checksums, const char *path);
void sp_checksums_close(sp_checksums *checksums); /* NULL is fine */

/* Reads the file `path` and compares its sum with the listed one. *is_listed is false where the list
   has no name for it, and the file is not read then. SP_BAD_DATA: another sum, or two sums listed
   for it; SP_IO: cannot be read. */
SP_NODISCARD sp_status sp_checksums_check(const sp_checksums *checksums, const char *path,
                                          bool *is_listed);
