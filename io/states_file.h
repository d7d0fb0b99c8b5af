/* A group of an encoder's states on the disk: rows that need not be computed again.

       8 bytes   "SPSTATES"
       u32       version, 1
       u32       d, values of a row
       u64       n_rows
       32 bytes  key: what the states are of, as hexadecimal digits
       16 bytes  XXH3-128 of the rows, low half first
       f32       [n_rows, d]

   Little-endian. A file is there whole or not at all (io/atomic_file.h); one that is damaged is told by
   its sum, and is of no more use than none. */
#pragma once

#include "base/status.h"
#include "io/mapping.h"

#include <stdbool.h>
#include <stddef.h>

enum { SP_STATES_KEY_SIZE = 33 }; /* 32 hexadecimal digits and a NUL */

/* What a group's file has to be. */
typedef struct sp_states_group {
    const char *path, *key; /* borrowed */
    size_t n_rows, d;
} sp_states_group;

/* Writes rows [n_rows, d]. SP_IO: it cannot be written; SP_FAILURE: another process is writing it. */
SP_NODISCARD sp_status sp_states_write(const sp_states_group *group, const float *rows);

/* Maps a group's file into an empty *mapping, and points *rows into it. SP_IO: there is none; SP_BAD_DATA:
   it is another one's, or, where the sum is `verified`, damaged. */
SP_NODISCARD sp_status sp_states_open(sp_mapping *mapping, const float **rows,
                                      const sp_states_group *group, bool verified);
