/* The tensors of a Hugging Face model folder: model.safetensors, or else the shards that
   model.safetensors.index.json lists ({"weight_map": {tensor: file}}). Names are the files' own. */
#pragma once

#include "base/status.h"
#include "io/mapping.h"
#include "tensor/tensor_table.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_safetensors_folder {
    sp_tensor_table tensors; /* sorted, owned; views into the mappings */
    size_t n_left_out;       /* as sp_safetensors_read() counts them */
    sp_mapping *mappings;    /* [n_mappings], owned */
    size_t n_mappings;
} sp_safetensors_folder; /* all zero: empty */

/* Opens the folder `path`. SP_IO: a file cannot be read; SP_BAD_DATA: there is none of them, one is
   damaged, a tensor is in two shards or not in the one where the index has it. *folder is
   untouched then. */
SP_NODISCARD sp_status sp_safetensors_folder_open(sp_safetensors_folder *folder, const char *path);

/* Is there a model.safetensors in the folder, or an index of shards? */
bool sp_safetensors_folder_has_weights(const char *path);

void sp_safetensors_folder_close(sp_safetensors_folder *folder); /* an empty one is fine */
