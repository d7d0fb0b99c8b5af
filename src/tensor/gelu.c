#include "tensor/gelu.h"

#include <math.h>

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
