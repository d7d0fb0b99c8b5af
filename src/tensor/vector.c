#include "tensor/vector.h"

#include "tensor/cpu.h"

/* Values in a piece of work: 16 KiB keeps a thread's overhead small beside it. */
enum { PIECE = 4096 };

static size_t piece_end(size_t begin, size_t n) { return n - begin < PIECE ? n : begin + PIECE; }

SP_CLONES static void add_piece(float *y, const float *x, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void sp_vector_add(float *y, const float *x, size_t n) {
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += PIECE)
        add_piece(y + begin, x + begin, piece_end(begin, n) - begin);
}

SP_CLONES static void scale_piece(float *x, float factor, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

void sp_vector_scale(float *x, float factor, size_t n) {
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += PIECE)
        scale_piece(x + begin, factor, piece_end(begin, n) - begin);
}

/* The lanes of a clone would differ between CPUs; eight sums of their own do not. */
SP_CLONES static double sum_squares(const float *x, size_t n) {
    enum { LANES = 8 };
    double sum[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
#pragma omp simd
        for (size_t lane = 0; lane < LANES; lane++)
            sum[lane] += (double)x[i + lane] * (double)x[i + lane];
    for (size_t lane = 0; i + lane < n; lane++)
        sum[lane] += (double)x[i + lane] * (double)x[i + lane];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* Parts are cut by n alone and added in order, so that threads do not show in the sum. */
double sp_vector_sum_squares(const float *x, size_t n) {
    enum { PARTS = 256 };
    double sums[PARTS];
#pragma omp parallel for schedule(static)
    for (size_t part = 0; part < PARTS; part++) {
        const size_t begin = n / PARTS * part + n % PARTS * part / PARTS;
        const size_t end = n / PARTS * (part + 1) + n % PARTS * (part + 1) / PARTS;
        sums[part] = sum_squares(x + begin, end - begin);
    }
    double total = 0;
    for (size_t part = 0; part < PARTS; part++) total += sums[part];
    return total;
}
