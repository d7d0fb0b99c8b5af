/* AdamW, as torch.optim.AdamW computes it (Loshchilov & Hutter, arXiv 1711.05101). At step t, from
   1, with g = grad_scale * grad:

       weight *= 1 - lr * weight_decay
       m       = m + (1 - beta1) (g - m)
       v       = beta2 v + (1 - beta2) g^2
       weight -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

   Flat f32 arrays; coefficients are made in f64 and rounded once, as torch does. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct sp_adamw {
    double lr, beta1, beta2, eps;
    double weight_decay; /* of the range at hand: 0 for what is not a matrix */
    float grad_scale;    /* 1, or what clipping leaves of the gradient */
} sp_adamw;

/* Updates weight, m and v [n] from grad [n]; n may be 0. m and v start as zeros. Spread over OpenMP
   threads; results do not depend on how many there are. */
void sp_adamw_step(const sp_adamw *adamw, uint64_t step, float *weight, float *m, float *v,
                   const float *grad, size_t n);
