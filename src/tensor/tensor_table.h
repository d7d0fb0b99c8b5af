/* Tensors by name: what a model file offers, in the names of Hugging Face's Llama checkpoints
   ("model.layers.0.self_attn.q_proj.weight"), whatever the file's own format calls them. */
#pragma once

#include "tensor/tensor.h"

typedef struct sp_named_tensor {
    char *name; /* owned by the table */
    sp_tensor tensor;
} sp_named_tensor;

typedef struct sp_tensor_table {
    sp_named_tensor *entries; /* sorted by name, owned */
    size_t n_entries;
} sp_tensor_table; /* all zero: an empty table */

/* Appends a copy of the tensor's view under a copy of `name`, unsorted. */
SP_NODISCARD sp_status sp_tensor_table_add(sp_tensor_table *table, const char *name,
                                           const sp_tensor *tensor);

/* Sorts entries by name, as find() wants them. SP_BAD_DATA: a name stands twice. */
SP_NODISCARD sp_status sp_tensor_table_sort(sp_tensor_table *table);

/* The tensor of that name, borrowed from the table, or NULL. */
const sp_tensor *sp_tensor_table_find(const sp_tensor_table *table, const char *name);

void sp_tensor_table_free(sp_tensor_table *table);
