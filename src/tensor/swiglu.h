/* The gated activation of Llama's feed-forward block.

       h = silu(gate) * up     silu(z) = z / (1 + exp(-z))

   Shazeer 2020 (arXiv 2002.05202). Arrays of n values, f32; n may be 0. Nothing allocates or fails.
   Values are spread over OpenMP threads; results do not depend on how many there are. */
#pragma once

#include <stddef.h>

/* Writes h [n]; h may be gate or up. */
void sp_swiglu_forward(float *h, const float *gate, const float *up, size_t n);

/* Given dh = dL/dh, writes dgate and dup [n] and, unless NULL, h [n] anew, so that h need not be
   kept for the gradient of the weight that follows. Any output may be any input, in place. */
void sp_swiglu_backward(float *dgate, float *dup, float *h, const float *dh, const float *gate,
                        const float *up, size_t n);
