#include "tensor/rmsnorm.h"

#include "tensor/cpu.h"

#include <math.h>

static float forward_row_ref(float *restrict y, const float *restrict x,
                             const float *restrict weight, size_t d, float eps) {
    double sum = 0;
    for (size_t i = 0; i < d; i++) sum += (double)x[i] * (double)x[i];
    const float rstd = (float)(1.0 / sqrt(sum / (double)d + (double)eps));
    for (size_t i = 0; i < d; i++) y[i] = x[i] * rstd * weight[i];
    return rstd;
}

static void backward_row_ref(float *restrict dx, float beta, const float *restrict dy,
                             const float *restrict x, const float *restrict weight, size_t d,
                             float rstd) {
    double dot = 0;
    for (size_t i = 0; i < d; i++) dot += (double)weight[i] * (double)dy[i] * (double)x[i];
    const float pull = (float)(dot / (double)d * (double)rstd * (double)rstd);
    for (size_t i = 0; i < d; i++) {
        const float own = rstd * (weight[i] * dy[i] - x[i] * pull);
        dx[i] = beta == 0 ? own : own + beta * dx[i];
    }
}

#if defined(__x86_64__)
static bool has_avx2(void) { return sp_cpu_may_use(SP_ISA_AVX2); }

/* Differs from the reference in the order of the sum alone; `simd` is what permits that. */
__attribute__((target("avx2"))) static float forward_row_avx2(float *restrict y,
                                                              const float *restrict x,
                                                              const float *restrict weight,
                                                              size_t d, float eps) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < d; i++) sum += (double)x[i] * (double)x[i];
    const float rstd = (float)(1.0 / sqrt(sum / (double)d + (double)eps));
#pragma omp simd
    for (size_t i = 0; i < d; i++) y[i] = x[i] * rstd * weight[i];
    return rstd;
}

__attribute__((target("avx2"))) static void
backward_row_avx2(float *restrict dx, float beta, const float *restrict dy, const float *restrict x,
                  const float *restrict weight, size_t d, float rstd) {
    double dot = 0;
#pragma omp simd reduction(+ : dot)
    for (size_t i = 0; i < d; i++) dot += (double)weight[i] * (double)dy[i] * (double)x[i];
    const float pull = (float)(dot / (double)d * (double)rstd * (double)rstd);
    if (beta == 0) {
#pragma omp simd
        for (size_t i = 0; i < d; i++) dx[i] = rstd * (weight[i] * dy[i] - x[i] * pull);
    } else {
#pragma omp simd
        for (size_t i = 0; i < d; i++)
            dx[i] = rstd * (weight[i] * dy[i] - x[i] * pull) + beta * dx[i];
    }
}
#endif

static bool always(void) { return true; }

const sp_rmsnorm_kernel sp_rmsnorm_kernels[] = {
#if defined(__x86_64__)
    {.name = "avx2",
     .supported = has_avx2,
     .forward_row = forward_row_avx2,
     .backward_row = backward_row_avx2},
#endif
    {.name = "reference",
     .supported = always,
     .forward_row = forward_row_ref,
     .backward_row = backward_row_ref},
};
const size_t sp_rmsnorm_n_kernels = sizeof sp_rmsnorm_kernels / sizeof sp_rmsnorm_kernels[0];

sp_rmsnorm sp_rmsnorm_make(const float *weight, size_t d, float eps) {
    const sp_rmsnorm_kernel *kernel = sp_rmsnorm_kernels;
    while (!kernel->supported()) kernel++; /* ends at the reference */
    return (sp_rmsnorm){.kernel = kernel, .weight = weight, .d = d, .eps = eps};
}

void sp_rmsnorm_forward(const sp_rmsnorm *norm, float *restrict y, float *restrict rstd,
                        const float *restrict x, size_t n_rows) {
    const size_t d = norm->d;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        rstd[r] = norm->kernel->forward_row(y + r * d, x + r * d, norm->weight, d, norm->eps);
}

/* A column belongs to one thread, which sums it in row order: the same bits for any thread count.
   Columns go in blocks, so that rows are still read along memory. */
static void add_dweight(float *restrict dweight, const float *restrict dy, const float *restrict x,
                        const float *restrict rstd, size_t n_rows, size_t d) {
    enum { BLOCK = 64 };
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < d; begin += BLOCK) {
        const size_t n = d - begin < BLOCK ? d - begin : BLOCK;
        double sum[BLOCK] = {0};
        for (size_t r = 0; r < n_rows; r++)
            for (size_t i = 0, k = r * d + begin; i < n; i++, k++)
                sum[i] += (double)dy[k] * (double)(x[k] * rstd[r]);
        for (size_t i = 0; i < n; i++) dweight[begin + i] += (float)sum[i];
    }
}

void sp_rmsnorm_backward(const sp_rmsnorm *norm, float *restrict dx, float beta,
                         float *restrict dweight, const float *restrict dy, const float *restrict x,
                         const float *restrict rstd, size_t n_rows) {
    const size_t d = norm->d;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        norm->kernel->backward_row(dx + r * d, beta, dy + r * d, x + r * d, norm->weight, d,
                                   rstd[r]);
    if (dweight != NULL) add_dweight(dweight, dy, x, rstd, n_rows, d);
}
