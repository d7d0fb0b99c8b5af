/* LayerNorm over the rows of a matrix, forward and backward.

       mean[r] = mean_i x[r,i]
       rstd[r] = 1 / sqrt(mean_i (x[r,i] - mean[r])^2 + eps)
       y[r,i]  = (x[r,i] - mean[r]) * rstd[r] * weight[i] + bias[i]

   Ba et al. 2016 (arXiv 1607.06450), as in GPT-2.

   Matrices are row-major f32, [n_rows, d] without padding; sums over a row are f64. n_rows may be
   0; d is at least 1. Outputs overlap neither inputs nor each other. Nothing here allocates or
   fails. Rows are spread over OpenMP threads; results do not depend on how many there are. */
#pragma once

#include <stddef.h>

typedef struct sp_layernorm {
    const float *weight, *bias; /* [d], borrowed */
    size_t d;
    float eps;
} sp_layernorm;

/* Writes y [n_rows, d], and mean and rstd [n_rows] for the backward pass. */
void sp_layernorm_forward(const sp_layernorm *norm, float *restrict y, float *restrict mean,
                          float *restrict rstd, const float *restrict x, size_t n_rows);

/* Given dy = dL/dy, writes (beta 0) or adds to (beta 1) dx [n_rows, d], where a residual's gradient
   may already stand, and adds to dweight and dbias [d], which are NULL where frozen. With
   z = (x - mean) rstd and g = weight * dy:
       dx[r,i]     = rstd[r] (g[r,i] - mean_j g[r,j] - z[r,i] mean_j g[r,j] z[r,j]) + beta * dx[r,i]
       dweight[i] += sum_r dy[r,i] z[r,i]      dbias[i] += sum_r dy[r,i] */
void sp_layernorm_backward(const sp_layernorm *norm, float *restrict dx, float beta,
                           float *restrict dweight, float *restrict dbias, const float *restrict dy,
                           const float *restrict x, const float *restrict mean,
                           const float *restrict rstd, size_t n_rows);
