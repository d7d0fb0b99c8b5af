#include "tensor/adamw.h"

#include "tensor/cpu.h"

#include <math.h>

/* The step's coefficients, as torch rounds them. */
typedef struct coefficients {
    float decay, beta1_rest, beta2, beta2_rest, step_size, root_correction, eps, grad_scale;
} coefficients;

static coefficients make_coefficients(const sp_adamw *adamw, uint64_t step) {
    const double correction1 = 1 - pow(adamw->beta1, (double)step);
    const double correction2 = 1 - pow(adamw->beta2, (double)step);
    return (coefficients){
        .decay = (float)(1 - adamw->lr * adamw->weight_decay),
        .beta1_rest = (float)(1 - adamw->beta1),
        .beta2 = (float)adamw->beta2,
        .beta2_rest = (float)(1 - adamw->beta2),
        .step_size = (float)(adamw->lr / correction1),
        .root_correction = (float)sqrt(correction2),
        .eps = (float)adamw->eps,
        .grad_scale = adamw->grad_scale,
    };
}

SP_CLONES static void update(const coefficients *c, float *restrict weight, float *restrict m,
                             float *restrict v, const float *restrict grad, size_t n) {
    const coefficients k = *c;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float g = grad[i] * k.grad_scale;
        m[i] += k.beta1_rest * (g - m[i]);
        v[i] = k.beta2 * v[i] + k.beta2_rest * g * g;
        const float root = __builtin_sqrtf(v[i]) / k.root_correction + k.eps;
        weight[i] = weight[i] * k.decay - k.step_size * m[i] / root;
    }
}

void sp_adamw_step(const sp_adamw *adamw, uint64_t step, float *weight, float *m, float *v,
                   const float *grad, size_t n) {
    enum { PIECE = 4096 }; /* values of the four arrays that fit into a first-level cache */
    const coefficients c = make_coefficients(adamw, step);
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += PIECE)
        update(&c, weight + begin, m + begin, v + begin, grad + begin,
               n - begin < PIECE ? n - begin : PIECE);
}
