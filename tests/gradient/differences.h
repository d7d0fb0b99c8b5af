/* Gradients of blocks against finite differences of their own forward pass.

   A block is one function of its input and of its parameters; L = sum w y + sum_l scale_l loss_l,
   with fixed w, makes it a number. The forward pass is f32, so that a difference has an error of
   its own, up to 1e-3 of the greatest gradient; a wrong term shows as far more. */
#pragma once

#include "chain/chain.h"
#include "chain/params.h"

/* How far a gradient may be from its difference, over the greatest of its tensor. */
#define DIFFERENCE_TOLERANCE 3e-3

/* dL/dvalue by differences of several widths; value is put back. */
double slope_of(float *value, double (*loss)(void *subject), void *subject);

/* Fails the test, naming the tensor, if grad [n] is not that of the difference at every
   `stride`-th of values [n]. */
void check_slopes(const char *name, float *values, const float *grad, size_t n, size_t stride,
                  double (*loss)(void *subject), void *subject);

/* Runs a block alone, with kept bytes and scratch of exactly what its cost function says, and holds
   dx and the gradients of all parameters that are not frozen against differences. x [n_in_rows,
   n_in of the block] may be NULL. Gradients must be added: they start as ones. */
void check_block(const sp_block *block, sp_batch *batch, float *x, size_t n_in_rows,
                 sp_params *params);

/* Fills every parameter's values, matrices scaled to keep their input's size, vectors around 1. */
void fill_params(sp_params *params, uint32_t seed);
