/* Files that are there whole or not at all: written under a temporary name beside the final one,
   synced, renamed, and the folder synced.

   The temporary name is NAME.tmp. A writer locks it while it lives (flock), so that two writers of
   one file refuse each other, and what a killed one left is simply taken over. */
#pragma once

#include "base/status.h"

#include <stddef.h>

typedef struct sp_atomic_file {
    char *path;      /* owned: the final name */
    char *temp_path; /* owned: write here */
    int fd;          /* owned: open for writing at temp_path, holds the lock */
} sp_atomic_file;    /* all zero: none */

/* Begins `path`: creates an empty file at temp_path. SP_IO: the folder is missing, read-only or
   full; SP_FAILURE: another process is writing this file. */
SP_NODISCARD sp_status sp_atomic_begin(sp_atomic_file *file, const char *path);

/* Syncs what was written and gives it its name. On failure the temporary file is removed and
   nothing changes under the final name. *file is empty afterwards, whatever the outcome. */
SP_NODISCARD sp_status sp_atomic_commit(sp_atomic_file *file);

/* Removes the temporary file; an empty *file is fine. */
void sp_atomic_abort(sp_atomic_file *file);

/* Writes n_bytes as the file `path`, atomically. */
SP_NODISCARD sp_status sp_atomic_write(const char *path, const void *data, size_t n_bytes);

/* Writes all of n_bytes to a descriptor; `path` is for the message. */
SP_NODISCARD sp_status sp_write_all(int fd, const void *data, size_t n_bytes, const char *path);

/* Syncs a file or folder by path. */
SP_NODISCARD sp_status sp_sync_path(const char *path);

/* Creates a folder and those above it that are missing; one that is there is fine. */
SP_NODISCARD sp_status sp_make_folders(const char *path);

/* Removes a folder of plain files (no folders inside) and the files in it; one that is not there
   is fine. */
SP_NODISCARD sp_status sp_remove_folder(const char *path);

/* The same where a failure has its message already: what cannot be removed stays. */
void sp_discard_folder(const char *path);
