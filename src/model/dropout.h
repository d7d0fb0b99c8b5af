/* Dropout of LoRA's inputs, drawn from where a value stands and never from a generator's state.

       y[r,i] = x[r,i] * keep(sample, module, r - begin, i) / (1 - p)

   keep is 1 with probability 1 - p, from Philox4x32-10 with key = the sequence's sample and counter
   = (column block, row in the sequence, module, 0): the same for any grid, micro-batch and order, and
   for the backward pass, which draws it again. 16 random bits decide a value, so p is met within
   2^-17. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

   Rows are spread over OpenMP threads. Nothing here allocates or fails. */
#pragma once

#include "chain/batch.h"

#include <stddef.h>
#include <stdint.h>

/* Writes y [n_rows, d] = dropout(x [n_rows, d]); y may be x. */
void sp_dropout_forward(float *y, const float *x, size_t d, const sp_rows *rows, uint32_t module,
                        float p);

/* Adds the gradient to dx [n_rows, d]: dx += dropout(dy), with forward's mask. */
void sp_dropout_backward(float *restrict dx, const float *restrict dy, size_t d,
                         const sp_rows *rows, uint32_t module, float p);
