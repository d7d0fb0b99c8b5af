/* Checkpoints: the state of a run after a number of updates, as a folder that is there whole or
   not at all.

       RUN/step-0001200/data-0000.h5    /tensors/NAME  f32 [rows, ...], Fletcher32, with attributes
                                        global_shape u64 [n_dims] and row_begin u64
       RUN/step-0001200/manifest.json   format "slotpress-checkpoint", format_version, step, files
                                        (name, bytes, xxh3_128), and what the run adds: config,
                                        sample cursor, digests ...

   Tensors are logical: a name, a global shape, and as many pieces of rows, in as many files, as
   there were writers. A reader sees whole tensors, whatever the grid that wrote them. The folder is
   made under a temporary name, its files synced, the manifest written last, and renamed; the
   newest folder with a valid manifest is the checkpoint. */
#pragma once

#include "base/json.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SP_CHECKPOINT_FORMAT_VERSION = 1, SP_CHECKPOINT_MAX_DIMS = 4 };

/* ---- writing ----

   Any number of writers share a step: one process makes the folder; then each writer, in whichever
   process or thread, writes and finishes a file of its own; then one process publishes them all. A
   process has one step in the making at a time. All of this is local: processes tell each other. */

enum { SP_CHECKPOINT_FILE_NAME_SIZE = 32, SP_CHECKPOINT_DIGEST_SIZE = 40 };

/* What the manifest says of a file. Has no pointers: it may be sent to another process. */
typedef struct sp_checkpoint_file {
    char name[SP_CHECKPOINT_FILE_NAME_SIZE];
    uint64_t n_bytes;
    char xxh3_128[SP_CHECKPOINT_DIGEST_SIZE]; /* 32 hexadecimal digits */
} sp_checkpoint_file;

typedef struct sp_checkpoint_writer sp_checkpoint_writer; /* opaque: one file in the making */

/* Makes the temporary folder of `step` in the run folder, which is created if it is not there. What
   a killed run left of the same step is removed. */
SP_NODISCARD sp_status sp_checkpoint_make_folder(const char *run_dir, uint64_t step);

/* Begins the file of writer `number` in that folder. */
SP_NODISCARD sp_status sp_checkpoint_begin(sp_checkpoint_writer **writer, const char *run_dir,
                                           uint64_t step, size_t number);

/* Writes the tensor `name` of shape [n_dims] (1 to 4 dimensions) from data, row-major. A name is
   written once and has no '/'. */
SP_NODISCARD sp_status sp_checkpoint_write_tensor(sp_checkpoint_writer *writer, const char *name,
                                                  size_t n_dims, const size_t *shape,
                                                  const float *data);

/* Writes rows [row_begin, row_begin + n_rows) of the tensor `name` of global `shape` from data
   [n_rows, ...]: of one tensor one piece a writer. The pieces of all writers cover each row once.
   Threads that read other HDF5 files meanwhile wait for some MiB of it at most. */
SP_NODISCARD sp_status sp_checkpoint_write_rows(sp_checkpoint_writer *writer, const char *name,
                                                size_t n_dims, const size_t *shape,
                                                size_t row_begin, size_t n_rows, const float *data);

/* Writes all out to the disk and describes the file in *file. The writer is released whatever the
   outcome; on failure its file is removed. */
SP_NODISCARD sp_status sp_checkpoint_finish(sp_checkpoint_writer *writer, sp_checkpoint_file *file);

/* Removes the file and releases the writer; NULL is fine. */
void sp_checkpoint_abort(sp_checkpoint_writer *writer);

/* Completes the checkpoint of the finished `files` [n_files], which are all that its folder holds:
   the manifest has the members of the object `extra` (borrowed, may be NULL) beside its own, which
   win over members of the same name. A checkpoint of the same step is replaced. On failure the
   temporary folder is removed and nothing new is left under the final name. */
SP_NODISCARD sp_status sp_checkpoint_publish(const char *run_dir, uint64_t step,
                                             const sp_checkpoint_file *files, size_t n_files,
                                             const json_t *extra);

/* Removes the temporary folder with all that writers finished in it. */
void sp_checkpoint_discard(const char *run_dir, uint64_t step);

/* Deletes all complete checkpoints of the run but the newest `keep` (at least one) and those whose
   step is a positive multiple of major_every (0: none), and what killed writers left behind. */
SP_NODISCARD sp_status sp_checkpoint_prune(const char *run_dir, size_t keep, uint64_t major_every);

/* ---- reading ---- */

typedef struct sp_checkpoint sp_checkpoint; /* opaque: files are opened by demand, few at a time */

/* Finds the newest checkpoint whose manifest is valid and whose files have their sizes: `dir` is a
   run folder or a step folder. *path is owned; NULL, with SP_OK, when there is none or no such
   folder. */
SP_NODISCARD sp_status sp_checkpoint_find(const char *dir, char **path);

/* Opens the checkpoint of a step folder, or the newest valid one of a run folder, into *checkpoint,
   with all checksums verified. A newer one that is damaged is skipped with a warning when `dir` is
   a run folder, refused (SP_BAD_DATA) when it was named itself. SP_IO: nothing there to open. */
SP_NODISCARD sp_status sp_checkpoint_open(sp_checkpoint **checkpoint, const char *dir);

/* Opens a step folder for one of n_readers processes that share the verifying: this one does it for
   the files whose place in the manifest is `index` modulo n_readers. The checkpoint is valid if all of
   them succeed, which they tell each other before they read. Local. */
SP_NODISCARD sp_status sp_checkpoint_open_shared(sp_checkpoint **checkpoint, const char *step_dir,
                                                 size_t index, size_t n_readers);
void sp_checkpoint_close(sp_checkpoint *checkpoint); /* NULL is fine */

/* All borrowed until close: the step folder's path, the manifest. */
const char *sp_checkpoint_path(const sp_checkpoint *checkpoint);
const json_t *sp_checkpoint_manifest(const sp_checkpoint *checkpoint);
uint64_t sp_checkpoint_step(const sp_checkpoint *checkpoint);

/* Tensors in order of their names. The info's name is borrowed until close. */
typedef struct sp_checkpoint_tensor {
    const char *name;
    size_t n_dims;
    size_t shape[SP_CHECKPOINT_MAX_DIMS];
} sp_checkpoint_tensor;
size_t sp_checkpoint_n_tensors(const sp_checkpoint *checkpoint);
sp_checkpoint_tensor sp_checkpoint_tensor_at(const sp_checkpoint *checkpoint, size_t index);

/* Looks a tensor up by name; false if the checkpoint has none of that name. */
bool sp_checkpoint_find_tensor(const sp_checkpoint *checkpoint, const char *name,
                               sp_checkpoint_tensor *tensor);

/* Reads a whole tensor to out, row-major. SP_BAD_DATA: there is none of that name, its shape is not
   the expected one (both are named), or its data are damaged; out is then unspecified. */
SP_NODISCARD sp_status sp_checkpoint_read_tensor(const sp_checkpoint *checkpoint, const char *name,
                                                 size_t n_dims, const size_t *shape, float *out);

/* Reads rows [row_begin, row_begin + n_rows) of it to out [n_rows, ...]. */
SP_NODISCARD sp_status sp_checkpoint_read_rows(const sp_checkpoint *checkpoint, const char *name,
                                               size_t n_dims, const size_t *shape, size_t row_begin,
                                               size_t n_rows, float *out);

/* What `slotpress inspect` shows of a step folder or run folder, as a JSON object, owned. */
SP_NODISCARD sp_status sp_checkpoint_describe(json_t **description, const char *dir);
