#include "tensor/quantize.h"

#include "tensor/cpu.h"
#include "tensor/f16.h"

#include <float.h>
#include <math.h>
#include <omp.h>

enum { WORTH_THREADS = 1 << 14 }; /* values; below, starting threads costs more than it saves */

/* More would be mixed better, but costs an addition a value for each factor of 2. */
enum { MOST_MIXED = 128 };

static size_t n_mixed(size_t n) {
    size_t b = 1;
    while (b < MOST_MIXED && n > 0 && n % (2 * b) == 0) b *= 2;
    return b;
}

SP_CLONES static void butterfly(float *restrict a, float *restrict b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float sum = a[i] + b[i], difference = a[i] - b[i];
        a[i] = sum;
        b[i] = difference;
    }
}

/* Those of a with b and c with d, then of what became of a with c and b with d: in one pass over memory. */
SP_CLONES static void two_butterflies(float *restrict a, float *restrict b, float *restrict c,
                                      float *restrict d, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float a1 = a[i] + b[i], b1 = a[i] - b[i], c1 = c[i] + d[i], d1 = c[i] - d[i];
        a[i] = a1 + c1;
        c[i] = a1 - c1;
        b[i] = b1 + d1;
        d[i] = b1 - d1;
    }
}

/* x = x H. */
static void turn(float *x, size_t n) {
    size_t half = n / n_mixed(n);
    for (; 2 * half < n; half *= 4)
        for (float *at = x; at < x + n; at += 4 * half)
            two_butterflies(at, at + half, at + 2 * half, at + 3 * half, half);
    if (half < n) butterfly(x, x + half, half);
}

/* Smallest and largest of 0 and x; what is not finite makes both NaN. */
typedef struct range {
    float low, high;
} range;

SP_CLONES static range range_of(const float *x, size_t n) {
    float low = 0, high = 0, nothing = 0;
#pragma omp simd reduction(min : low) reduction(max : high) reduction(+ : nothing)
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        nothing += x[i] * 0; /* NaN, or 0 */
    }
    return (range){low + nothing, high + nothing};
}

/* Values so small that their scale has no inverse are 0. */
static float inverse(float scale) { return scale >= FLT_MIN ? 1 / scale : 0; }

/* Halves go up: what is added is positive, so that a conversion, which cuts, rounds. */
SP_CLONES static int32_t quantize_weight_row(int8_t *restrict q, const float *restrict x,
                                             float factor, float max, size_t n) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t value = (int32_t)(x[i] * factor + (max + 0.5F)) - (int32_t)max;
        q[i] = (int8_t)value;
        sum += value;
    }
    return sum;
}

void sp_quantize_weight(int8_t *q, float *scales, int32_t *sums, float *weight, size_t n_rows,
                        size_t n) {
    const float most = 127, mixed = (float)n_mixed(n);
#pragma omp parallel for schedule(static) if (n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r++) {
        float *row = weight + r * n;
        turn(row, n);
        const range at = range_of(row, n);
        const float scale = (at.high > -at.low ? at.high : -at.low) / most;
        if (isfinite(scale)) {
            sums[r] = quantize_weight_row(q + r * n, row, inverse(scale), most, n);
        } else {
            memset(q + r * n, 0, n);
            sums[r] = 0;
        }
        scales[r] = scale / mixed;
    }
}

SP_CLONES static void round_to_u8(uint8_t *restrict q, const float *restrict x, float factor,
                                  float zero, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float value = x[i] * factor + (zero + 0.5F);
        const float below = value < 255 ? value : 255;
        q[i] = (uint8_t)(int32_t)(below > 0 ? below : 0);
    }
}

SP_CLONES static void round_to_s16(int16_t *restrict q, const float *restrict x, float factor,
                                   float most, size_t n) {
    for (size_t i = 0; i < n; i++)
        q[i] = (int16_t)((int32_t)(x[i] * factor + (most + 0.5F)) - (int32_t)most);
}

static size_t room_floats(size_t n) { return (n + 15) & ~(size_t)15; }

size_t sp_quantize_room_bytes(size_t n) {
    return (size_t)omp_get_max_threads() * room_floats(n) * sizeof(float);
}

/* Turns a row in the thread's part of the room, and writes its range. */
static const float *turned_row(range *at, const float *x, size_t n, void *room) {
    float *row = (float *)room + (size_t)omp_get_thread_num() * room_floats(n);
    memcpy(row, x, n * sizeof *x);
    turn(row, n);
    *at = range_of(row, n);
    return row;
}

void sp_quantize_rows_u8(uint8_t *q, sp_row_scale *scales, const float *x, size_t n_rows, size_t n,
                         void *room) {
#pragma omp parallel for schedule(static) if (n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r++) {
        range at;
        const float *row = turned_row(&at, x + r * n, n, room);
        const float scale = at.high / 255 - at.low / 255, factor = inverse(scale);
        scales[r] = (sp_row_scale){.scale = scale};
        if (isfinite(scale)) {
            scales[r].zero = (int32_t)(-at.low * factor + 0.5F);
            round_to_u8(q + r * n, row, factor, (float)scales[r].zero, n);
        } else {
            memset(q + r * n, 0, n);
        }
    }
}

/* As many steps as s16 holds, if n products with weights of up to 127 fit s32. */
static int32_t most_steps(size_t n) {
    const size_t fitting = INT32_MAX / (127 * (n > 0 ? n : 1));
    return fitting < INT16_MAX ? (int32_t)fitting : INT16_MAX;
}

void sp_quantize_rows_s16(int16_t *q, sp_row_scale *scales, const float *x, size_t n_rows, size_t n,
                          void *room) {
    const float most = (float)most_steps(n);
#pragma omp parallel for schedule(static) if (n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r++) {
        range at;
        const float *row = turned_row(&at, x + r * n, n, room);
        scales[r] = (sp_row_scale){.scale = (at.high > -at.low ? at.high : -at.low) / most};
        if (isfinite(scales[r].scale))
            round_to_s16(q + r * n, row, inverse(scales[r].scale), most, n);
        else
            memset(q + r * n, 0, n * sizeof *q);
    }
}

SP_CLONES static void scale_row(float *restrict out, const int8_t *restrict q, float scale,
                                size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = scale * (float)q[i];
}

void sp_quantize_expand(float *restrict out, const int8_t *restrict q, float scale, size_t n) {
    scale_row(out, q, scale, n);
    turn(out, n);
}

void sp_quantize_turn(float *x, size_t n_rows, size_t n) {
#pragma omp parallel for schedule(static) if (n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r++) turn(x + r * n, n);
}

/* memcpy tells the compiler that a value changes its type, and costs nothing. */
SP_CLONES static void finish_row(float *y, sp_row_scale row, const float *restrict weight_scales,
                                 const int32_t *restrict weight_sums, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t sum;
        memcpy(&sum, y + i, sizeof sum);
        y[i] = row.scale * (float)(sum - row.zero * weight_sums[i]) * weight_scales[i];
    }
}

void sp_quantize_finish(void *y, size_t ld, const sp_row_scale *scales, const float *weight_scales,
                        const int32_t *weight_sums, size_t n_rows, size_t n) {
#pragma omp parallel for schedule(static) if (n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r++)
        finish_row((float *)y + r * ld, scales[r], weight_scales, weight_sums, n);
}
