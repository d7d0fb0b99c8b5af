/* Sums and scalings of flat f32 arrays. n may be 0. Nothing allocates or fails. Spread over OpenMP
   threads; results do not depend on how many there are. */
#pragma once

#include <stddef.h>

/* y += x. */
void sp_vector_add(float *y, const float *x, size_t n);

/* x *= factor. */
void sp_vector_scale(float *x, float factor, size_t n);

/* sum_i x[i]^2 in f64; NaN or infinite where x holds such. */
double sp_vector_sum_squares(const float *x, size_t n);
