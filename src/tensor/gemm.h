/* Matrix products in f32, by OpenBLAS or oneDNN.

   Matrices are row-major; ld is the distance between rows in values, at least their length, so that
   a matrix may be a range of columns of a wider one. Any of m, n, k may be 0. y overlaps neither a
   nor b. With beta 0, y is written and never read. Runs on all OpenMP threads, or on the calling
   one alone inside a parallel region. The same call on as many threads gives the same bits. */
#pragma once

#include <stdbool.h>
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

/* y = alpha op(a) op(b) + beta y, where op transposes what is said to be transposed; m, n and k are
   at least 1. */
typedef void sp_gemm_fn(const sp_gemm *size, bool a_transposed, bool b_transposed, float *y,
                        size_t ld_y, const float *a, size_t ld_a, const float *b, size_t ld_b);

typedef struct sp_gemm_kernel {
    const char *name;
    bool (*supported)(void);
    sp_gemm_fn *gemm;
} sp_gemm_kernel;

/* Every version, fastest first; the last is the reference and runs anywhere. */
extern const sp_gemm_kernel sp_gemm_kernels[];
extern const size_t sp_gemm_n_kernels;

/* The first version that is supported: what the functions above take, but for sp_gemm_nn at some
   shapes. */
const sp_gemm_kernel *sp_gemm_chosen(void);

/* The version that sp_gemm_nn takes: it depends on the CPU and the shape alone. */
const sp_gemm_kernel *sp_gemm_nn_chosen(const sp_gemm *size, size_t ld_b);
