/* How much memory this process may have: by its control groups (Slurm, containers) and by the
   machine. What lies above it ends in the out-of-memory killer, or in swap.

   Read from /proc/self/cgroup, the limits of the groups there and of those around them
   (cgroup v2: memory.max, v1: memory.limit_in_bytes), and /proc/meminfo. */
#pragma once

#include "base/status.h"

#include <stdint.h>

enum { SP_MEMORY_SOURCE_SIZE = 256 };

typedef struct sp_memory_limit {
    uint64_t n_bytes;                   /* the smallest of all limits */
    char source[SP_MEMORY_SOURCE_SIZE]; /* whose: a file's path, the end of a long one */
    uint64_t machine_bytes;             /* what the machine has */
    uint64_t
        available_bytes; /* what it could give at present, to all processes, without swapping */
} sp_memory_limit;

/* Reads the limits below the folder `root`: "" for this machine. SP_FAILURE: nothing there says how
   much memory there is. */
SP_NODISCARD sp_status sp_memory_limit_read(sp_memory_limit *limit, const char *root);
