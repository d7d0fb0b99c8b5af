/* Matrix products in f32, by OpenBLAS: the only file that knows it.

   Matrices are row-major; ld is the distance between rows in values, at least their length, so that
   a matrix may be a range of columns of a wider one. Any of m, n, k may be 0. y overlaps neither a
   nor b. With beta 0, y is written and never read. Runs on all OpenMP threads, or on the calling
   one alone inside a parallel region. The same call on as many threads gives the same bits. */
#pragma once

#include <stddef.h>

typedef struct sp_gemm {
    size_t m, n, k; /* y [m, n], summed over k */
    float alpha, beta;
} sp_gemm;

/* y = alpha a b^T + beta y, with a [m, k] and b [n, k]: a linear layer's forward pass. */
void sp_gemm_nt(sp_gemm size, float *y, size_t ld_y, const float *a, size_t ld_a, const float *b,
                size_t ld_b);

/* y = alpha a b + beta y, with a [m, k] and b [k, n]: the gradient of its input. */
void sp_gemm_nn(sp_gemm size, float *y, size_t ld_y, const float *a, size_t ld_a, const float *b,
                size_t ld_b);

/* y = alpha a^T b + beta y, with a [k, m] and b [k, n]: the gradient of its weight. */
void sp_gemm_tn(sp_gemm size, float *y, size_t ld_y, const float *a, size_t ld_a, const float *b,
                size_t ld_b);

/* "OpenBLAS 0.3.21 …" as the library says, for --version. Static. */
const char *sp_gemm_library(void);
