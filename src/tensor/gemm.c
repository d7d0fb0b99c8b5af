#include "tensor/gemm.h"

#include "tensor/cpu.h"
#include "tensor/dnnl_matmul.h"

#include <assert.h>
#include <limits.h>

#include <cblas.h>

static blasint to_blasint(size_t n) {
    assert(n <= INT_MAX);
    return (blasint)n;
}

static void gemm_openblas(const sp_gemm *size, bool a_transposed, bool b_transposed, float *y,
                          size_t ld_y, const float *a, size_t ld_a, const float *b, size_t ld_b) {
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
                b_transposed ? CblasTrans : CblasNoTrans, to_blasint(size->m), to_blasint(size->n),
                to_blasint(size->k), size->alpha, a, to_blasint(ld_a), b, to_blasint(ld_b),
                size->beta, y, to_blasint(ld_y));
}

static void gemm_ref(const sp_gemm *size, bool a_transposed, bool b_transposed, float *y,
                     size_t ld_y, const float *a, size_t ld_a, const float *b, size_t ld_b) {
    const size_t a_row = a_transposed ? 1 : ld_a, a_column = a_transposed ? ld_a : 1;
    const size_t b_row = b_transposed ? 1 : ld_b, b_column = b_transposed ? ld_b : 1;
    for (size_t i = 0; i < size->m; i++)
        for (size_t j = 0; j < size->n; j++) {
            float sum = 0;
            for (size_t k = 0; k < size->k; k++)
                sum += a[i * a_row + k * a_column] * b[k * b_row + j * b_column];
            float *out = &y[i * ld_y + j];
            *out = size->alpha * sum + (size->beta == 0 ? 0 : size->beta * *out);
        }
}

static bool always(void) { return true; }

/* On one core of Zen 4 oneDNN reaches 100 to 110 of 116 GFLOP/s on our shapes, OpenBLAS 0.3.21 95
   to 103, and 70 to 80 where a side is a LoRA's rank; with AVX2 alone 92 to 105 against 85 to 98. */
const sp_gemm_kernel sp_gemm_kernels[] = {
    {.name = "oneDNN", .supported = sp_dnnl_computes_f32, .gemm = sp_dnnl_gemm},
    {.name = "OpenBLAS", .supported = always, .gemm = gemm_openblas},
    {.name = "reference", .supported = always, .gemm = gemm_ref},
};
const size_t sp_gemm_n_kernels = sizeof sp_gemm_kernels / sizeof sp_gemm_kernels[0];

const sp_gemm_kernel *sp_gemm_chosen(void) {
    const sp_gemm_kernel *kernel = sp_gemm_kernels;
    while (!kernel->supported()) kernel++; /* ends at the reference */
    return kernel;
}

/* Without AVX512 oneDNN reads b in place, uncopied, where m or n is below some 263, and on rows a
   whole number of 4 KiB apart, as those of most large models, it loses a third of its rate: they fall
   into the same sets of the cache. OpenBLAS copies b always, which pays from so many rows of a on.
   Zen 1, back through two layers of Llama-3-8B, 256 rows: 60 against 49 GFLOP/s; with b transposed, as
   forward, 59 against 66. */
static bool is_slow_in_onednn(const sp_gemm *size, size_t ld_b) {
    enum { SAME_SETS = 4096 / sizeof(float), LEAST = 128 };
    const size_t least_weight = (size_t)1 << 22; /* below, there is little to gain */
    if (sp_cpu_may_use(SP_ISA_AVX512) || ld_b % SAME_SETS != 0) return false;
    if (size->m < LEAST || size->n * size->k < least_weight) return false;
    return 1 / (double)size->m + 1 / (double)size->n >= 0.0038; /* oneDNN's own test */
}

const sp_gemm_kernel *sp_gemm_nn_chosen(const sp_gemm *size, size_t ld_b) {
    const sp_gemm_kernel *kernel = sp_gemm_chosen();
    return kernel->gemm == sp_dnnl_gemm && is_slow_in_onednn(size, ld_b) ? kernel + 1 : kernel;
}

static void gemm(const sp_gemm_kernel *kernel, const sp_gemm *size, bool a_transposed,
                 bool b_transposed, float *y, size_t ld_y, const float *a, size_t ld_a,
                 const float *b, size_t ld_b) {
    if (size->m == 0 || size->n == 0) return;
    if (size->k == 0)
        gemm_ref(size, a_transposed, b_transposed, y, ld_y, a, ld_a, b, ld_b);
    else
        kernel->gemm(size, a_transposed, b_transposed, y, ld_y, a, ld_a, b, ld_b);
}

void sp_gemm_nt(sp_gemm size, float *y, size_t ld_y, const float *a, size_t ld_a, const float *b,
                size_t ld_b) {
    gemm(sp_gemm_chosen(), &size, false, true, y, ld_y, a, ld_a, b, ld_b);
}

void sp_gemm_nn(sp_gemm size, float *y, size_t ld_y, const float *a, size_t ld_a, const float *b,
                size_t ld_b) {
    gemm(sp_gemm_nn_chosen(&size, ld_b), &size, false, false, y, ld_y, a, ld_a, b, ld_b);
}

void sp_gemm_tn(sp_gemm size, float *y, size_t ld_y, const float *a, size_t ld_a, const float *b,
                size_t ld_b) {
    gemm(sp_gemm_chosen(), &size, true, false, y, ld_y, a, ld_a, b, ld_b);
}
