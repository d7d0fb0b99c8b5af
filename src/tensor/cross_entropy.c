#include "tensor/cross_entropy.h"

#include "tensor/cpu.h"
#include "tensor/vexp.h"

#include <math.h>

/* The logits of a tile: 40 MiB are 213 rows of 49,152 or 81 of 128,256, enough for products near
   full speed, and leave the rows of hidden states and the libraries their part of 64 MiB in all.
   Recomputing logits in smaller blocks would cost a third product. */
enum { TILE_BYTES = 40 << 20, STRIP = 16 };

/* As few tiles as there can be, of the same height, so that none is left with few rows; in whole
   strips of a kernel's registers where they fit. */
static size_t tile_rows(size_t n_vocabulary, size_t n_rows) {
    const size_t fitting = TILE_BYTES / (n_vocabulary * sizeof(float));
    const size_t most = fitting > 0 ? fitting : 1;
    if (n_rows <= most) return n_rows;
    const size_t n_tiles = (n_rows + most - 1) / most;
    const size_t rows = (n_rows + n_tiles - 1) / n_tiles;
    const size_t in_strips = (rows + STRIP - 1) / STRIP * STRIP;
    return in_strips <= most ? in_strips : rows;
}

static size_t logits_bytes(size_t n_vocabulary, size_t rows) {
    return (rows * n_vocabulary * sizeof(float) + 63) & ~(size_t)63;
}

size_t sp_cross_entropy_scratch_bytes(const sp_linear *head, size_t n_rows) {
    const size_t n_vocabulary = sp_linear_n_out(head), rows = tile_rows(n_vocabulary, n_rows);
    return logits_bytes(n_vocabulary, rows) + sp_linear_scratch_bytes(head, rows);
}

SP_CLONES static float greatest(const float *z, size_t n) {
    float max = z[0];
#pragma omp simd reduction(max : max)
    for (size_t j = 0; j < n; j++) max = z[j] > max ? z[j] : max;
    return max;
}

/* Turns z into exp(z - max), and returns the sum. */
SP_CLONES static double exponentiate(float *z, float max, size_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) {
        z[j] = sp_vexp(z[j] - max);
        sum += (double)z[j];
    }
    return sum;
}

SP_CLONES static void scale_row(float *z, float factor, size_t n) {
#pragma omp simd
    for (size_t j = 0; j < n; j++) z[j] *= factor;
}

static bool is_first_of(const float *z, float max, size_t target) {
    if (!(z[target] >= max)) return false;
    for (size_t j = 0; j < target; j++)
        if (z[j] == max) return false;
    return true;
}

/* Turns a row of logits into exp(z - max), and returns its loss. */
static double softmax_loss(float *z, size_t n, size_t target, double *sum) {
    const float max = greatest(z, n);
    const double wanted = (double)z[target] - (double)max;
    *sum = exponentiate(z, max, n);
    return log(*sum) - wanted;
}

void sp_cross_entropy_forward(const sp_linear *head, double *nll, uint8_t *is_correct,
                              const float *x, const int32_t *targets, size_t n_rows,
                              void *scratch) {
    const size_t n = sp_linear_n_out(head), d = sp_linear_n_in(head);
    const size_t rows = tile_rows(n, n_rows);
    float *logits = scratch;
    void *inner = (char *)scratch + logits_bytes(n, rows);
    for (size_t begin = 0; begin < n_rows; begin += rows) {
        const size_t n_tile = n_rows - begin < rows ? n_rows - begin : rows;
        sp_linear_forward(head, logits, x + begin * d, n_tile, inner);
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < n_tile; r++) {
            float *z = logits + r * n;
            const size_t target = (size_t)targets[begin + r];
            if (is_correct != NULL) is_correct[begin + r] = is_first_of(z, greatest(z, n), target);
            double sum = 0;
            nll[begin + r] = softmax_loss(z, n, target, &sum);
        }
    }
}

void sp_cross_entropy_backward(const sp_linear *head, double *nll, float *dx, float *dweight,
                               float *dbias, const float *x, const int32_t *targets,
                               const float *scale, size_t n_rows, void *scratch) {
    const size_t n = sp_linear_n_out(head), d = sp_linear_n_in(head);
    const size_t rows = tile_rows(n, n_rows);
    float *logits = scratch; /* then dL/dlogits */
    void *inner = (char *)scratch + logits_bytes(n, rows);
    for (size_t begin = 0; begin < n_rows; begin += rows) {
        const size_t n_tile = n_rows - begin < rows ? n_rows - begin : rows;
        sp_linear_forward(head, logits, x + begin * d, n_tile, inner);
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < n_tile; r++) {
            float *z = logits + r * n;
            const size_t target = (size_t)targets[begin + r];
            const float row_scale = scale[begin + r];
            double sum = 0;
            nll[begin + r] = softmax_loss(z, n, target, &sum);
            scale_row(z, (float)((double)row_scale / sum), n);
            z[target] -= row_scale;
        }
        sp_linear_backward_input(head, dx + begin * d, 0, logits, n_tile, inner);
        if (dweight != NULL)
            sp_linear_backward_weight(dweight, dbias, logits, x + begin * d, n_tile, n, d);
    }
}
