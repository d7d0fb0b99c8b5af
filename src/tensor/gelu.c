#include "tensor/gelu.h"

#include "tensor/cpu.h"
#include "tensor/vexp.h"

#include <math.h>

/* Values in a piece of work: the arrays' pieces fit into a first-level cache. */
enum { PIECE = 2048 };

static const float SQRT_HALF = 0.707106781F;    /* sqrt(1/2) */
static const float INV_SQRT_2PI = 0.398942280F; /* 1 / sqrt(2 pi) */

static float normal_cdf(float x) { return 0.5F * (1.0F + erff(x * SQRT_HALF)); }

void sp_gelu_forward(float *y, const float *x, size_t n) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) y[i] = x[i] * normal_cdf(x[i]);
}

void sp_gelu_backward(float *dx, const float *dy, const float *x, size_t n) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        const float z = x[i], density = INV_SQRT_2PI * expf(-0.5F * z * z);
        dx[i] = dy[i] * (normal_cdf(z) + z * density);
    }
}

/* (1 + tanh(u)) / 2 is the logistic function of 2u. */
static inline float half_tanh(float x) {
    const float twice_u = 1.59576912F * (x + 0.044715F * x * x * x);
    return 1.0F / (1.0F + sp_vexp(-twice_u));
}

/* Outputs may be inputs: each value is read before its own place is written. */
SP_CLONES static void tanh_forward_piece(float *y, const float *x, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = x[i] * half_tanh(x[i]);
}

SP_CLONES static void tanh_backward_piece(float *dx, const float *dy, const float *x, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float z = x[i], s = half_tanh(z);
        const float slope = 1.59576912F * (1.0F + 0.134145F * z * z); /* d 2u / dx */
        dx[i] = dy[i] * (s + z * s * (1.0F - s) * slope);
    }
}

void sp_gelu_tanh_forward(float *y, const float *x, size_t n) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += PIECE)
        tanh_forward_piece(y + i, x + i, n - i < PIECE ? n - i : PIECE);
}

void sp_gelu_tanh_backward(float *dx, const float *dy, const float *x, size_t n) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += PIECE)
        tanh_backward_piece(dx + i, dy + i, x + i, n - i < PIECE ? n - i : PIECE);
}
