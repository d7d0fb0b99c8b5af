/* RMSNorm over the rows of a matrix, forward and backward.

       rstd[r] = 1 / sqrt(mean_i x[r,i]^2 + eps)
       y[r,i]  = x[r,i] * rstd[r] * weight[i]

   Zhang & Sennrich 2019 (arXiv 1910.07467), eq. 4; eps under the root as in Llama.

   Matrices are row-major f32, [n_rows, d] without padding; sums over a row are f64. n_rows may be
   0; d is at least 1. Outputs overlap neither inputs nor each other. Nothing here allocates or
   fails. Rows are spread over OpenMP threads; results do not depend on how many there are. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_rmsnorm_kernel {
    const char *name;        /* as `slotpress bench` prints it */
    bool (*supported)(void); /* does this CPU run it? */
    /* One row: writes y[d], returns rstd. */
    float (*forward_row)(float *restrict y, const float *restrict x, const float *restrict weight,
                         size_t d, float eps);
    /* One row: writes dx[d], or adds to beta times it. */
    void (*backward_row)(float *restrict dx, float beta, const float *restrict dy,
                         const float *restrict x, const float *restrict weight, size_t d,
                         float rstd);
} sp_rmsnorm_kernel;

/* Every version, fastest first; the last is the reference and runs anywhere. */
extern const sp_rmsnorm_kernel sp_rmsnorm_kernels[];
extern const size_t sp_rmsnorm_n_kernels;

typedef struct sp_rmsnorm {
    const sp_rmsnorm_kernel *kernel; /* static */
    const float *weight;             /* [d], borrowed */
    size_t d;
    float eps;
} sp_rmsnorm;

/* The norm with the fastest kernel that this CPU runs. */
sp_rmsnorm sp_rmsnorm_make(const float *weight, size_t d, float eps);

/* Writes y [n_rows, d], and rstd [n_rows] for the backward pass. */
void sp_rmsnorm_forward(const sp_rmsnorm *norm, float *restrict y, float *restrict rstd,
                        const float *restrict x, size_t n_rows);

/* Given dy = dL/dy, writes (beta 0) or adds to (beta 1) dx [n_rows, d], where a residual's gradient
   may already stand, and adds to dweight [d], which is NULL for a frozen weight. With
   g = weight * dy:
       dx[r,i]     = rstd[r] * (g[r,i] - x[r,i] * rstd[r]^2 * mean_j g[r,j] x[r,j]) + beta * dx[r,i]
       dweight[i] += sum_r dy[r,i] * x[r,i] * rstd[r] */
void sp_rmsnorm_backward(const sp_rmsnorm *norm, float *restrict dx, float beta,
                         float *restrict dweight, const float *restrict dy, const float *restrict x,
                         const float *restrict rstd, size_t n_rows);
