/* The output head with its loss in one: hidden rows in, losses and their gradient out, never a
   [rows, vocabulary] matrix. With z = head(x[r]):

       nll[r] = log sum_j exp(z[j]) - z[target[r]]
       dx[r]  = scale[r] * sum_j (softmax(z)[j] - [j = target[r]]) * weight[j]

   Rows are those that have a target, gathered: x [n_rows, d] with d = n_in of the head, whose n_out
   is the vocabulary; targets [n_rows] in [0, vocabulary). n_rows may be 0. Logits live in tiles of
   rows x vocabulary in `scratch`, which is 64-byte aligned; the sums of a softmax are f64. Nothing
   allocates or fails. Runs on all OpenMP threads; the same call on as many threads gives the same
   bits. */
#pragma once

#include "tensor/linear.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of scratch for so many rows; bounded by a constant beyond one tile, or by one row. */
size_t sp_cross_entropy_scratch_bytes(const sp_linear *head, size_t n_rows);

/* Writes nll [n_rows] and, unless NULL, is_correct [n_rows]: 1 where the target is the greatest
   logit (the least id among equals), else 0. */
void sp_cross_entropy_forward(const sp_linear *head, double *nll, uint8_t *is_correct,
                              const float *x, const int32_t *targets, size_t n_rows, void *scratch);

/* Writes nll [n_rows] and dx [n_rows, d], with scale [n_rows] = dL/dnll; adds to dweight
   [vocabulary, d] and to dbias [vocabulary], each NULL where frozen (dbias only with dweight). */
void sp_cross_entropy_backward(const sp_linear *head, double *nll, float *dx, float *dweight,
                               float *dbias, const float *x, const int32_t *targets,
                               const float *scale, size_t n_rows, void *scratch);
