/* safetensors files: tensors by name, plain and little-endian, as Hugging Face publishes models.

       offset 0   u64 N, bytes of the header
              8   header, a JSON object: NAME: {"dtype": "BF16", "shape": [out, in],
                  "data_offsets": [begin, end]}, and "__metadata__": {string: string}
          8 + N   data; offsets count from here, and the tensors cover it without gap or overlap

   (github.com/huggingface/safetensors, README.md) */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/mapping.h"
#include "tensor/tensor_table.h"

#include <stddef.h>

/* Adds the tensors of a mapped file to *tensors, unsorted, as views into the mapping, and the number
   of those left out to *n_left_out: of a type other than F32, F16 and BF16 (buffers of integers) or
   of more than SP_MAX_DIMS dimensions. `path` names the file in messages. SP_BAD_DATA: not such a
   file, cut short, or it contradicts itself. */
SP_NODISCARD sp_status sp_safetensors_read(sp_tensor_table *tensors, size_t *n_left_out,
                                           const sp_mapping *mapping, const char *path);

/* One tensor to write. */
typedef struct sp_safetensors_entry {
    const char *name; /* borrowed */
    size_t n_dims;
    size_t shape[SP_MAX_DIMS]; /* outermost first */
    const float *data;         /* for sp_safetensors_write() */
    sp_dtype dtype;            /* in the file: SP_F32 (0), SP_F16 or SP_BF16 */
} sp_safetensors_entry;

/* Writes n entries in any order; the bytes of the file depend on names, types, shapes, values and
   metadata only. `metadata` is an object of strings, or NULL. SP_IO: cannot be written; then nothing
   is left and nothing changed under `path`. SP_BAD_DATA: a name stands twice or is not UTF-8. */
SP_NODISCARD sp_status sp_safetensors_write(const char *path, const sp_safetensors_entry *entries,
                                            size_t n, const json_t *metadata);

/* ---- the same bytes piece by piece, for what need not be in memory at once ---- */

typedef struct sp_safetensors_writer sp_safetensors_writer; /* opaque: a file in the making */

/* Begins a file of n entries, whose `data` are not read: sorts them by name, in place, which is the
   order that their values are to come in. They and `path` are borrowed until commit or abort. Errors
   as above. */
SP_NODISCARD sp_status sp_safetensors_begin(sp_safetensors_writer **writer, const char *path,
                                            sp_safetensors_entry *entries, size_t n,
                                            const json_t *metadata);

/* Appends the next n values, which lie within one entry; 16-bit types are rounded to nearest even. */
SP_NODISCARD sp_status sp_safetensors_append(sp_safetensors_writer *writer, const float *values,
                                             size_t n);

/* Gives the complete file its name. The writer is released whatever the outcome. */
SP_NODISCARD sp_status sp_safetensors_commit(sp_safetensors_writer *writer);

/* Removes what was written and releases the writer; NULL is fine. */
void sp_safetensors_abort(sp_safetensors_writer *writer);
