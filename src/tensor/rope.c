#include "tensor/rope.h"

#include "tensor/cpu.h"

#include <math.h>

/* Meta's rule: wave lengths beyond the trained context are stretched whole, those well inside it
   not at all. */
static float rescale(float inv_freq, const sp_rope_llama3 *scaling) {
    const double pi = 3.14159265358979323846;
    const double context = (double)scaling->original_max_position_embeddings;
    const double wave = 2 * pi / (double)inv_freq;
    const double low = scaling->low_freq_factor, high = scaling->high_freq_factor;
    if (wave > context / low) return (float)((double)inv_freq / scaling->factor);
    if (wave < context / high) return inv_freq;
    const double smooth = (context / wave - low) / (high - low);
    return (float)((1 - smooth) * (double)inv_freq / scaling->factor + smooth * (double)inv_freq);
}

void sp_rope_make_inv_freq(float *inv_freq, size_t head_dim, double theta,
                           const sp_rope_llama3 *scaling) {
    for (size_t i = 0; i < head_dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)head_dim;
        inv_freq[i] = 1.0F / (float)pow(theta, (double)exponent);
        if (scaling != NULL) inv_freq[i] = rescale(inv_freq[i], scaling);
    }
}

void sp_rope_make_table(float *cos, float *sin, const float *inv_freq, size_t head_dim,
                        size_t n_positions) {
    const size_t half = head_dim / 2;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < n_positions; p++)
        for (size_t i = 0; i < half; i++) {
            const float angle = (float)p * inv_freq[i];
            cos[p * half + i] = cosf(angle);
            sin[p * half + i] = sinf(angle);
        }
}

/* sign -1 turns back. */
SP_CLONES static void rotate_row(float *restrict x, const float *restrict cos,
                                 const float *restrict sin, float sign, size_t n_heads,
                                 size_t half) {
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict low = x + 2 * h * half, *restrict high = low + half;
#pragma omp simd
        for (size_t i = 0; i < half; i++) {
            const float a = low[i], b = high[i], s = sign * sin[i];
            low[i] = a * cos[i] - b * s;
            high[i] = b * cos[i] + a * s;
        }
    }
}

static void rotate(const sp_rope *rope, float sign, float *x, size_t ld, const uint32_t *positions,
                   size_t n_rows, size_t n_heads) {
    const size_t half = rope->head_dim / 2;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++) {
        const size_t p = positions[r];
        rotate_row(x + r * ld, rope->cos + p * half, rope->sin + p * half, sign, n_heads, half);
    }
}

void sp_rope_forward(const sp_rope *rope, float *x, size_t ld, const uint32_t *positions,
                     size_t n_rows, size_t n_heads) {
    rotate(rope, 1, x, ld, positions, n_rows, n_heads);
}

void sp_rope_backward(const sp_rope *rope, float *dy, size_t ld, const uint32_t *positions,
                      size_t n_rows, size_t n_heads) {
    rotate(rope, -1, dy, ld, positions, n_rows, n_heads);
}
