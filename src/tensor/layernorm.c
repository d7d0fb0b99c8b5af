#include "tensor/layernorm.h"

#include "tensor/cpu.h"

#include <math.h>

typedef struct row_stats {
    float mean, rstd;
} row_stats;

SP_CLONES static row_stats forward_row(float *restrict y, const float *restrict x,
                                       const float *restrict weight, const float *restrict bias,
                                       size_t d, float eps) {
    double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < d; i++) sum += (double)x[i];
    const double mean = sum / (double)d;
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < d; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const row_stats stats = {(float)mean, (float)(1.0 / sqrt(squares / (double)d + (double)eps))};
#pragma omp simd
    for (size_t i = 0; i < d; i++) y[i] = (x[i] - stats.mean) * stats.rstd * weight[i] + bias[i];
    return stats;
}

SP_CLONES static void backward_row(float *restrict dx, float beta, const float *restrict dy,
                                   const float *restrict x, const float *restrict weight, size_t d,
                                   row_stats stats) {
    double sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (size_t i = 0; i < d; i++) {
        const double g = (double)weight[i] * (double)dy[i];
        sum += g;
        dot += g * (double)((x[i] - stats.mean) * stats.rstd);
    }
    const float mean = (float)(sum / (double)d), pull = (float)(dot / (double)d);
    if (beta == 0) {
#pragma omp simd
        for (size_t i = 0; i < d; i++)
            dx[i] =
                stats.rstd * (weight[i] * dy[i] - mean - (x[i] - stats.mean) * stats.rstd * pull);
    } else {
#pragma omp simd
        for (size_t i = 0; i < d; i++)
            dx[i] =
                stats.rstd * (weight[i] * dy[i] - mean - (x[i] - stats.mean) * stats.rstd * pull) +
                beta * dx[i];
    }
}

void sp_layernorm_forward(const sp_layernorm *norm, float *restrict y, float *restrict mean,
                          float *restrict rstd, const float *restrict x, size_t n_rows) {
    const size_t d = norm->d;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++) {
        const row_stats stats =
            forward_row(y + r * d, x + r * d, norm->weight, norm->bias, d, norm->eps);
        mean[r] = stats.mean;
        rstd[r] = stats.rstd;
    }
}

/* A block of columns belongs to one thread, which adds the rows in their order. */
static void add_column_sums(float *restrict dweight, float *restrict dbias,
                            const float *restrict dy, const float *restrict x,
                            const float *restrict mean, const float *restrict rstd, size_t n_rows,
                            size_t d) {
    enum { BLOCK = 64 };
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < d; begin += BLOCK) {
        const size_t n = d - begin < BLOCK ? d - begin : BLOCK;
        double of_weight[BLOCK] = {0}, of_bias[BLOCK] = {0};
        for (size_t r = 0; r < n_rows; r++)
            for (size_t i = 0, k = r * d + begin; i < n; i++, k++) {
                of_weight[i] += (double)dy[k] * (double)((x[k] - mean[r]) * rstd[r]);
                of_bias[i] += (double)dy[k];
            }
        for (size_t i = 0; i < n; i++) {
            if (dweight != NULL) dweight[begin + i] += (float)of_weight[i];
            if (dbias != NULL) dbias[begin + i] += (float)of_bias[i];
        }
    }
}

void sp_layernorm_backward(const sp_layernorm *norm, float *restrict dx, float beta,
                           float *restrict dweight, float *restrict dbias, const float *restrict dy,
                           const float *restrict x, const float *restrict mean,
                           const float *restrict rstd, size_t n_rows) {
    const size_t d = norm->d;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        backward_row(dx + r * d, beta, dy + r * d, x + r * d, norm->weight, d,
                     (row_stats){mean[r], rstd[r]});
    if (dweight != NULL || dbias != NULL)
        add_column_sums(dweight, dbias, dy, x, mean, rstd, n_rows, d);
}
