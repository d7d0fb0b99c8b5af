#include "tensor/argmax.h"

#include "tensor/cpu.h"

#include <math.h>

SP_CLONES static float greatest(const float *x, size_t n) {
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* Pieces, so that the second look is short. */
size_t sp_argmax(const float *x, size_t n) {
    enum { PIECE = 1024 };
    size_t best = 0;
    float most = -INFINITY;
    for (size_t begin = 0; begin < n; begin += PIECE) {
        const size_t len = n - begin < PIECE ? n - begin : PIECE;
        const float here = greatest(x + begin, len);
        if (!(here > most)) continue;
        most = here;
        best = begin;
    }
    for (size_t i = best; i < n; i++)
        if (x[i] == most) return i;
    return 0;
}
