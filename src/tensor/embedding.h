/* Rows of an embedding table by token id, and their gradient.

   table [n_ids, d], out [n_rows, d], row-major f32 without padding. ids [n_rows] are below n_ids; a
   row whose id is negative is skipped, its input comes from elsewhere. Nothing allocates or fails.
   Spread over OpenMP threads; results do not depend on how many there are. */
#pragma once

#include "tensor/linear.h"
#include "tensor/tensor.h"

#include <stddef.h>
#include <stdint.h>

/* Writes out[r] = table[ids[r]] straight from a file's tensor, whatever its type. */
void sp_embedding_read(float *out, const sp_tensor *table, const int32_t *ids, size_t n_rows);

/* The same from the table of an output head that is tied to it, or is trained. */
void sp_embedding_gather(float *out, const sp_linear *table, const int32_t *ids, size_t n_rows);

/* Adds dy[r] to dtable[ids[r]], in the order of the rows. */
void sp_embedding_scatter_add(float *dtable, const float *dy, const int32_t *ids, size_t n_rows,
                              size_t d);
