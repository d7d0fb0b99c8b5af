/* GGUF files, versions 2 and 3, little-endian: a model's metadata and tensors as llama.cpp reads
   them.

       offset 0   "GGUF", u32 version, u64 n_tensors, u64 n_fields
             24   fields: string key, u32 type, value
                  (string: u64 length, bytes; array: u32 item type, u64 n, items)
                  tensors: string name, u32 n_dims, u64 dims [n_dims] innermost first,
                  u32 ggml type, u64 offset into the data
                  padding to general.alignment (32)
                  data: the tensors in their order, each padded

   (github.com/ggml-org/ggml, docs/gguf.md) */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/mapping.h"
#include "tensor/tensor_table.h"

#include <stddef.h>
#include <stdint.h>

/* An array of the metadata as it lies in the file: long ones cost nothing until they are asked
   for. */
typedef struct sp_gguf_array {
    char *key;                 /* owned */
    uint32_t item_type;        /* of GGUF's value types */
    size_t n_items;            /* checked against the file */
    const unsigned char *data; /* borrowed from the mapping */
} sp_gguf_array;

typedef struct sp_gguf {
    sp_mapping mapping; /* owned */
    uint32_t version;
    json_t *metadata;      /* owned: an object of all fields that are no arrays */
    sp_gguf_array *arrays; /* [n_arrays], owned */
    size_t n_arrays;
    sp_tensor_table tensors; /* by the file's own names, sorted; shapes outermost first */
} sp_gguf;                   /* all zero: none */

/* Opens and checks a whole file but for the tensors' values. SP_IO: cannot be read; SP_BAD_DATA: not
   GGUF, of another version or byte order, cut short, contradicts itself, or has a tensor of a type
   that sp_dtype has not, which is named. *gguf is untouched then. */
SP_NODISCARD sp_status sp_gguf_open(sp_gguf *gguf, const char *path);

/* The same of a file whose tensors' values may be cut off, as when only its first megabytes were
   downloaded: tensors know their types and shapes, and those beyond the end have no data. */
SP_NODISCARD sp_status sp_gguf_open_outline(sp_gguf *gguf, const char *path);

void sp_gguf_close(sp_gguf *gguf); /* an empty one is fine */

/* The array of that key as a JSON array, owned; NULL if there is none. `path` names the file in
   messages. SP_BAD_DATA: a string in it is not UTF-8. */
SP_NODISCARD sp_status sp_gguf_get_array(json_t **array, const sp_gguf *gguf, const char *key,
                                         const char *path);
