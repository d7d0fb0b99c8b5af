/* The gated activation of Llama's feed-forward block.

       h = silu(gate) * up     silu(z) = z / (1 + exp(-z))

   Shazeer 2020 (arXiv 2002.05202). gate and up are [n_rows, d] with rows ld values apart, so that
   one wide matrix may hold both; h and dh are [n_rows, d] without padding; all f32; n_rows may be 0.
   Nothing allocates or fails. Pieces of rows are spread over OpenMP threads; results do not depend
   on how many there are. */
#pragma once

#include <stddef.h>

/* Writes h; h may be gate or up where ld is d. */
void sp_swiglu_forward(float *h, const float *gate, const float *up, size_t ld, size_t n_rows,
                       size_t d);

/* Given dh = dL/dh, writes dgate and dup, laid out as gate and up; they may take their places, or
   that of dh where ld is d. */
void sp_swiglu_backward(float *dgate, float *dup, const float *dh, const float *gate,
                        const float *up, size_t ld, size_t n_rows, size_t d);
