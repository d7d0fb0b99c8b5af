/* A checkpoint's manifest: which files belong to it, their sizes and checksums, and what the run
   wants remembered. A folder is a checkpoint if its manifest is valid. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/checkpoint.h"

#include <stddef.h>
#include <stdint.h>

#define SP_MANIFEST_NAME "manifest.json"

/* Writes the manifest of the step folder `dir`, which holds the synced `files` [n_files]; the members
   of the object `extra` (borrowed, may be NULL) come after our own. */
SP_NODISCARD sp_status sp_manifest_write(const char *dir, uint64_t step,
                                         const sp_checkpoint_file *files, size_t n_files,
                                         const json_t *extra);

/* Reads the manifest of a step folder into *manifest, owned, and holds the files' sizes against it.
   SP_IO: no manifest; SP_BAD_DATA: not valid, or a file is missing or of another size. */
SP_NODISCARD sp_status sp_manifest_read(json_t **manifest, const char *dir);

/* Verifies the checksums of every n-th file from the one at `first` on. SP_BAD_DATA: one differs. */
SP_NODISCARD sp_status sp_manifest_verify(const json_t *manifest, const char *dir, size_t first,
                                          size_t n);

/* The members that a valid manifest has. A file's name is borrowed from it. */
uint64_t sp_manifest_step(const json_t *manifest);
size_t sp_manifest_n_files(const json_t *manifest);
const char *sp_manifest_file(const json_t *manifest, size_t index);
