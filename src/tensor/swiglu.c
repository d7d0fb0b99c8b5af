#include "tensor/swiglu.h"

#include "tensor/cpu.h"
#include "tensor/vexp.h"

/* Values in a piece of work: the arrays' pieces fit into a first-level cache. */
enum { PIECE = 2048 };

/* Outputs may be inputs: each value is read before its own place is written, and `simd` says that
   no other place matters. */
SP_CLONES static void forward_piece(float *h, const float *gate, const float *up, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) h[i] = gate[i] / (1.0F + sp_vexp(-gate[i])) * up[i];
}

void sp_swiglu_forward(float *h, const float *gate, const float *up, size_t ld, size_t n_rows,
                       size_t d) {
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < d; i += PIECE)
            forward_piece(h + r * d + i, gate + r * ld + i, up + r * ld + i,
                          d - i < PIECE ? d - i : PIECE);
}

/* d silu(z) / dz = s + z s (1 - s) with s = 1 / (1 + exp(-z)). */
SP_CLONES static void backward_piece(float *dgate, float *dup, const float *dh, const float *gate,
                                     const float *up, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float z = gate[i], u = up[i], d = dh[i];
        const float s = 1.0F / (1.0F + sp_vexp(-z));
        dgate[i] = d * u * (s + z * s * (1.0F - s));
        dup[i] = d * z * s;
    }
}

void sp_swiglu_backward(float *dgate, float *dup, const float *dh, const float *gate,
                        const float *up, size_t ld, size_t n_rows, size_t d) {
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < d; i += PIECE) {
            const size_t at = r * ld + i;
            backward_piece(dgate + at, dup + at, dh + r * d + i, gate + at, up + at,
                           d - i < PIECE ? d - i : PIECE);
        }
}
