/* GELU, in its exact form and in GPT-2's.

       gelu        y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2
       gelu_tanh   y = x (1 + tanh(u)) / 2        u = sqrt(2 / pi) (x + 0.044715 x^3)

   Hendrycks & Gimpel 2016 (arXiv 1606.08415), eq. 2 and the approximation after it ("gelu_new").
   Arrays of n values, f32; n may be 0; outputs may be inputs, in place. Nothing allocates or fails.
   Values are spread over OpenMP threads; results do not depend on how many there are. */
#pragma once

#include <stddef.h>

void sp_gelu_forward(float *y, const float *x, size_t n);

/* Writes dx = dy (Phi(x) + x phi(x)), phi the normal density. */
void sp_gelu_backward(float *dx, const float *dy, const float *x, size_t n);

void sp_gelu_tanh_forward(float *y, const float *x, size_t n);
void sp_gelu_tanh_backward(float *dx, const float *dy, const float *x, size_t n);
