#include "tensor/rope.h"

#include "tensor/cpu.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

/* Meta's rule: wave lengths beyond the trained context are stretched whole, those well inside it
   not at all. */
static float rescale_llama3(float inv_freq, const sp_rope_scaling *scaling) {
    const double context = (double)scaling->original_max_position_embeddings;
    const double wave = 2 * PI / (double)inv_freq;
    const double low = scaling->low_freq_factor, high = scaling->high_freq_factor;
    if (wave > context / low) return (float)((double)inv_freq / scaling->factor);
    if (wave < context / high) return inv_freq;
    const double smooth = (context / wave - low) / (high - low);
    return (float)((1 - smooth) * (double)inv_freq / scaling->factor + smooth * (double)inv_freq);
}

/* The index of the frequency that turns so many times in the trained context. */
static double yarn_bound(double n_turns, size_t rotary_dim, double theta,
                         const sp_rope_scaling *scaling) {
    const double context = (double)scaling->original_max_position_embeddings;
    return (double)rotary_dim * log(context / (n_turns * 2 * PI)) / (2 * log(theta));
}

/* From kept at the fast bound to slowed at the slow one, along a ramp. */
static void rescale_yarn(float *inv_freq, size_t rotary_dim, double theta,
                         const sp_rope_scaling *scaling) {
    double low = yarn_bound(scaling->beta_fast, rotary_dim, theta, scaling);
    double high = yarn_bound(scaling->beta_slow, rotary_dim, theta, scaling);
    if (scaling->is_truncated) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)rotary_dim - 1);
    if (low == high) high += 0.001;
    for (size_t i = 0; i < rotary_dim / 2; i++) {
        const double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        const double kept = (double)inv_freq[i];
        inv_freq[i] = (float)(kept / scaling->factor * ramp + kept * (1 - ramp));
    }
}

void sp_rope_make_inv_freq(float *inv_freq, size_t rotary_dim, double theta,
                           const sp_rope_scaling *scaling, bool is_long) {
    const float *factors = is_long ? scaling->long_factor : scaling->short_factor;
    for (size_t i = 0; i < rotary_dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)rotary_dim;
        const float power = (float)pow(theta, (double)exponent);
        inv_freq[i] = 1.0F / power;
        if (scaling->kind == SP_ROPE_LINEAR) inv_freq[i] /= (float)scaling->factor;
        if (scaling->kind == SP_ROPE_LLAMA3) inv_freq[i] = rescale_llama3(inv_freq[i], scaling);
        if (scaling->kind == SP_ROPE_LONGROPE) inv_freq[i] = 1.0F / (factors[i] * power);
    }
    if (scaling->kind == SP_ROPE_YARN) rescale_yarn(inv_freq, rotary_dim, theta, scaling);
}

void sp_rope_make_table(float *cos, float *sin, const float *inv_freq, size_t rotary_dim,
                        double amplitude, size_t n_positions, size_t stride) {
    const size_t half = rotary_dim / 2;
    const float factor = (float)amplitude;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < n_positions; p++)
        for (size_t i = 0; i < half; i++) {
            const float angle = (float)p * inv_freq[i];
            cos[p * stride * half + i] = cosf(angle) * factor;
            sin[p * stride * half + i] = sinf(angle) * factor;
        }
}

/* sign -1 turns back. */
SP_CLONES static void rotate_row(float *restrict x, const float *restrict cos,
                                 const float *restrict sin, float sign, size_t n_heads,
                                 size_t head_dim, size_t half) {
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict low = x + h * head_dim, *restrict high = low + half;
#pragma omp simd
        for (size_t i = 0; i < half; i++) {
            const float a = low[i], b = high[i], s = sign * sin[i];
            low[i] = a * cos[i] - b * s;
            high[i] = b * cos[i] + a * s;
        }
    }
}

static void rotate(const sp_rope *rope, float sign, float *x, size_t ld, const uint32_t *table_rows,
                   size_t n_rows, size_t n_heads) {
    const size_t half = rope->rotary_dim / 2;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++) {
        const size_t at = table_rows[r] * half;
        rotate_row(x + r * ld, rope->cos + at, rope->sin + at, sign, n_heads, rope->head_dim, half);
    }
}

void sp_rope_forward(const sp_rope *rope, float *x, size_t ld, const uint32_t *table_rows,
                     size_t n_rows, size_t n_heads) {
    rotate(rope, 1, x, ld, table_rows, n_rows, n_heads);
}

void sp_rope_backward(const sp_rope *rope, float *dy, size_t ld, const uint32_t *table_rows,
                      size_t n_rows, size_t n_heads) {
    rotate(rope, -1, dy, ld, table_rows, n_rows, n_heads);
}
