/* One process at a time in a run's folder.

   The lock is on the file `lock` in the folder (flock): the system gives it up when the process
   ends, however it ends, so that no stale lock exists. The file tells who holds it. */
#pragma once

#include "base/status.h"

#include <stdbool.h>

typedef struct sp_run_lock {
    bool is_held;
    int fd;    /* owned while held */
} sp_run_lock; /* all zero: not held */

/* Locks the folder `dir`, which exists. SP_FAILURE: another process holds it, named with its pid
   and host; SP_IO: the lock file cannot be made. Local: only rank 0 of a run takes it. */
SP_NODISCARD sp_status sp_run_lock_acquire(sp_run_lock *lock, const char *dir);

/* Gives the lock up; one that is not held is fine. The file stays. */
void sp_run_lock_release(sp_run_lock *lock);
