#include "tensor/few_rows.h"

#include "tensor/cpu.h"
#include "tensor/f16.h"
#include "tensor/tensor.h"

#include <omp.h>
#include <stdalign.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool always(void) { return true; }

/* ---- the definition ---- */

static float bf16_value(uint16_t bits) { return sp_float_of_bits((uint32_t)bits << 16); }

static void f32_ref(sp_few_rows size, float *y, const float *x, const float *weight) {
    for (size_t r = 0; r < size.n_rows; r++)
        for (size_t i = 0; i < size.n_out; i++) {
            float sum = 0;
            for (size_t k = 0; k < size.n_in; k++)
                sum += x[r * size.n_in + k] * weight[i * size.n_in + k];
            y[r * size.n_out + i] = sum;
        }
}

static void bf16_ref(sp_few_rows size, float *y, const float *x, const uint16_t *weight) {
    for (size_t r = 0; r < size.n_rows; r++)
        for (size_t i = 0; i < size.n_out; i++) {
            float sum = 0;
            for (size_t k = 0; k < size.n_in; k++)
                sum += x[r * size.n_in + k] * bf16_value(weight[i * size.n_in + k]);
            y[r * size.n_out + i] = sum;
        }
}

static void u8s8_ref(sp_few_rows size, int32_t *y, const uint8_t *x, const int8_t *weight) {
    for (size_t r = 0; r < size.n_rows; r++)
        for (size_t i = 0; i < size.n_out; i++) {
            int32_t sum = 0;
            for (size_t k = 0; k < size.n_in; k++)
                sum += x[r * size.n_in + k] * weight[i * size.n_in + k];
            y[r * size.n_out + i] = sum;
        }
}

/* The compiler's own vectors: where there is no AVX2 a layer runs on this. */
static void s16s8_ref(sp_few_rows size, int32_t *y, const int16_t *x, const int8_t *weight) {
#pragma omp parallel for schedule(static) if (size.n_rows * size.n_out * size.n_in > 1 << 15)
    for (size_t i = 0; i < size.n_out; i++)
        for (size_t r = 0; r < size.n_rows; r++) {
            int32_t sum = 0;
            for (size_t k = 0; k < size.n_in; k++)
                sum += x[r * size.n_in + k] * weight[i * size.n_in + k];
            y[r * size.n_out + i] = sum;
        }
}

/* ---- x86-64 ---- */

#if defined(__x86_64__)

/* What is multiplied: one of the weights is there, with x and y of its kind. */
typedef struct operands {
    sp_few_rows size;
    float *y;
    const float *x;
    const float *f32;
    const uint16_t *bf16;
    int32_t *y_s32;
    const uint8_t *x_u8;
    const int16_t *x_s16;
    const int8_t *s8;
} operands;

/* A block is n_r rows of x against n_c rows of the weight: n_r n_c sums in registers, each a vector
   over k whose lanes are added at the end. Both are constants where a block is written down, so that
   its loops unroll and its arrays are registers. 8 to 12 sums hide the latency of an FMA, and 4 rows
   of memory at once are what prefetchers follow. */
enum { MOST_R = 4, MOST_C = 4 };

#define AVX2 __attribute__((target("avx2,fma")))
#define VNNI __attribute__((target("avx2,fma,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

AVX2 INLINE __m128 add_halves(__m256 v) {
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

AVX2 INLINE float sum_lanes(__m256 v) {
    __m128 sum = add_halves(v);
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* Those of four, in the same order, in a third of the time. */
AVX2 INLINE __m128 sum_lanes_of_4(__m256 a, __m256 b, __m256 c, __m256 d) {
    const __m128 a4 = add_halves(a), b4 = add_halves(b), c4 = add_halves(c), d4 = add_halves(d);
    const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a4, b4), _mm_unpackhi_ps(a4, b4));
    const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c4, d4), _mm_unpackhi_ps(c4, d4));
    return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

AVX2 INLINE __m128i add_halves_s32(__m256i v) {
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

AVX2 INLINE int32_t sum_lanes_s32(__m256i v) {
    const __m128i sum = add_halves_s32(v);
    const __m128i two = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

AVX2 INLINE __m128i sum_lanes_of_4_s32(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m128i ab = _mm_hadd_epi32(add_halves_s32(a), add_halves_s32(b));
    return _mm_hadd_epi32(ab, _mm_hadd_epi32(add_halves_s32(c), add_halves_s32(d)));
}

/* Rows are often shorter than what a prefetcher needs to get going: asks for the place `distance` bytes
   on, in the next block's rows, which may lie beyond the weight. */
AVX2 INLINE void prefetch(const void *bytes, size_t distance) {
    _mm_prefetch((const void *)((uintptr_t)bytes + distance), _MM_HINT_T0);
}

/* Where a chunk is multiplied by several strips, only the first would wait for memory. Instead the next
   chunk is asked for bit by bit, `stride` bytes in each step over k, while this one is multiplied. The
   place may come to lie beyond the weight. */
typedef struct look_ahead {
    uintptr_t at;
    size_t stride;
} look_ahead;

AVX2 INLINE __m256i load_bytes(const void *bytes) { return _mm256_loadu_si256(bytes); }

/* What f32 and bf16 blocks end with: y, and in it the values from n_whole on. */
AVX2 INLINE void store_floats(const operands *o, size_t n_r, size_t n_c, size_t r0, size_t c0,
                              __m256 sums[MOST_R][MOST_C], size_t n_whole) {
    const size_t n_in = o->size.n_in, n_out = o->size.n_out;
    float *y = o->y + r0 * n_out + c0;
    if (n_r == 4) {
        for (size_t c = 0; c < n_c; c++) {
            alignas(16) float column[4];
            _mm_store_ps(column, sum_lanes_of_4(sums[0][c], sums[1][c], sums[2][c], sums[3][c]));
            for (size_t r = 0; r < 4; r++) y[r * n_out + c] = column[r];
        }
    } else if (n_c == 4) {
        for (size_t r = 0; r < n_r; r++)
            _mm_storeu_ps(y + r * n_out,
                          sum_lanes_of_4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]));
    } else {
        for (size_t r = 0; r < n_r; r++)
            for (size_t c = 0; c < n_c; c++) y[r * n_out + c] = sum_lanes(sums[r][c]);
    }
    if (n_whole == n_in) return;
    for (size_t r = 0; r < n_r; r++)
        for (size_t c = 0; c < n_c; c++)
            for (size_t k = n_whole; k < n_in; k++) {
                const size_t at = (c0 + c) * n_in + k;
                y[r * n_out + c] += o->x[(r0 + r) * n_in + k] *
                                    (o->f32 != NULL ? o->f32[at] : bf16_value(o->bf16[at]));
            }
}

/* Asks for the next block's rows, or as `ahead` says. */
AVX2 INLINE void multiply_f32(const operands *o, look_ahead *ahead, bool looks_ahead, size_t n_r,
                              size_t n_c, size_t r0, size_t c0) {
    const size_t n_in = o->size.n_in, n_whole = n_in & ~(size_t)7;
    const float *x = o->x + r0 * n_in, *weight = o->f32 + c0 * n_in;
    look_ahead next = looks_ahead ? *ahead : (look_ahead){0};
    __m256 sums[MOST_R][MOST_C];
    for (size_t r = 0; r < n_r; r++)
        for (size_t c = 0; c < n_c; c++) sums[r][c] = _mm256_setzero_ps();
    for (size_t k = 0; k < n_whole; k += 8) {
        __m256 values[MOST_R];
        for (size_t r = 0; r < n_r; r++) values[r] = _mm256_loadu_ps(x + r * n_in + k);
        if (looks_ahead) {
            prefetch((const void *)next.at, 0);
            next.at += next.stride;
        }
        for (size_t c = 0; c < n_c; c++) {
            const float *at = weight + c * n_in + k;
            const __m256 column = _mm256_loadu_ps(at);
            if (!looks_ahead) prefetch(at, n_c * n_in * sizeof *at);
            for (size_t r = 0; r < n_r; r++)
                sums[r][c] = _mm256_fmadd_ps(values[r], column, sums[r][c]);
        }
    }
    if (looks_ahead) *ahead = next;
    store_floats(o, n_r, n_c, r0, c0, sums, n_whole);
}

AVX2 INLINE void multiply_f32_once(const operands *o, look_ahead *ahead, size_t n_r, size_t n_c,
                                   size_t r0, size_t c0) {
    multiply_f32(o, ahead, false, n_r, n_c, r0, c0);
}

AVX2 INLINE void multiply_f32_again(const operands *o, look_ahead *ahead, size_t n_r, size_t n_c,
                                    size_t r0, size_t c0) {
    multiply_f32(o, ahead, true, n_r, n_c, r0, c0);
}

AVX2 INLINE __m256 load_bf16(const uint16_t *weight) {
    const __m128i bits = _mm_loadu_si128((const void *)weight);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

AVX2 INLINE void multiply_bf16(const operands *o, look_ahead *none, size_t n_r, size_t n_c,
                               size_t r0, size_t c0) {
    (void)none;
    const size_t n_in = o->size.n_in, n_whole = n_in & ~(size_t)7;
    const float *x = o->x + r0 * n_in;
    const uint16_t *weight = o->bf16 + c0 * n_in;
    __m256 sums[MOST_R][MOST_C];
    for (size_t r = 0; r < n_r; r++)
        for (size_t c = 0; c < n_c; c++) sums[r][c] = _mm256_setzero_ps();
    for (size_t k = 0; k < n_whole; k += 8) {
        __m256 values[MOST_R];
        for (size_t r = 0; r < n_r; r++) values[r] = _mm256_loadu_ps(x + r * n_in + k);
        for (size_t c = 0; c < n_c; c++) {
            const uint16_t *at = weight + c * n_in + k;
            const __m256 column = load_bf16(at);
            prefetch(at, n_c * n_in * sizeof *at);
            for (size_t r = 0; r < n_r; r++)
                sums[r][c] = _mm256_fmadd_ps(values[r], column, sums[r][c]);
        }
    }
    store_floats(o, n_r, n_c, r0, c0, sums, n_whole);
}

/* What both kinds of integer blocks end with. */
AVX2 INLINE void store_sums(const operands *o, size_t n_r, size_t n_c, size_t r0, size_t c0,
                            __m256i sums[MOST_R][MOST_C], size_t n_whole) {
    const size_t n_in = o->size.n_in, n_out = o->size.n_out;
    int32_t *y = o->y_s32 + r0 * n_out + c0;
    if (n_r == 4) {
        for (size_t c = 0; c < n_c; c++) {
            alignas(16) int32_t column[4];
            _mm_store_si128((void *)column,
                            sum_lanes_of_4_s32(sums[0][c], sums[1][c], sums[2][c], sums[3][c]));
            for (size_t r = 0; r < 4; r++) y[r * n_out + c] = column[r];
        }
    } else if (n_c == 4) {
        for (size_t r = 0; r < n_r; r++)
            _mm_storeu_si128((void *)(y + r * n_out),
                             sum_lanes_of_4_s32(sums[r][0], sums[r][1], sums[r][2], sums[r][3]));
    } else {
        for (size_t r = 0; r < n_r; r++)
            for (size_t c = 0; c < n_c; c++) y[r * n_out + c] = sum_lanes_s32(sums[r][c]);
    }
    if (n_whole == n_in) return;
    for (size_t r = 0; r < n_r; r++)
        for (size_t c = 0; c < n_c; c++)
            for (size_t k = n_whole; k < n_in; k++) {
                const size_t at = (r0 + r) * n_in + k;
                y[r * n_out + c] +=
                    (o->x_u8 != NULL ? o->x_u8[at] : o->x_s16[at]) * o->s8[(c0 + c) * n_in + k];
            }
}

/* Products of bytes would be summed in s16, two by two, and saturate: weights are widened instead. */
AVX2 INLINE void multiply_s16(const operands *o, look_ahead *none, size_t n_r, size_t n_c,
                              size_t r0, size_t c0) {
    (void)none;
    const size_t n_in = o->size.n_in, n_whole = n_in & ~(size_t)15;
    __m256i sums[MOST_R][MOST_C];
    for (size_t r = 0; r < n_r; r++)
        for (size_t c = 0; c < n_c; c++) sums[r][c] = _mm256_setzero_si256();
    for (size_t k = 0; k < n_whole; k += 16) {
        __m256i values[MOST_R];
        for (size_t r = 0; r < n_r; r++) values[r] = load_bytes(o->x_s16 + (r0 + r) * n_in + k);
        for (size_t c = 0; c < n_c; c++) {
            const int8_t *at = o->s8 + (c0 + c) * n_in + k;
            const __m256i weight = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)at));
            prefetch(at, n_c * n_in);
            for (size_t r = 0; r < n_r; r++)
                sums[r][c] = _mm256_add_epi32(sums[r][c], _mm256_madd_epi16(values[r], weight));
        }
    }
    store_sums(o, n_r, n_c, r0, c0, sums, n_whole);
}

VNNI INLINE void multiply_vnni(const operands *o, look_ahead *none, size_t n_r, size_t n_c,
                               size_t r0, size_t c0) {
    (void)none;
    const size_t n_in = o->size.n_in, n_whole = n_in & ~(size_t)31;
    __m256i sums[MOST_R][MOST_C];
    for (size_t r = 0; r < n_r; r++)
        for (size_t c = 0; c < n_c; c++) sums[r][c] = _mm256_setzero_si256();
    for (size_t k = 0; k < n_whole; k += 32) {
        __m256i values[MOST_R];
        for (size_t r = 0; r < n_r; r++) values[r] = load_bytes(o->x_u8 + (r0 + r) * n_in + k);
        for (size_t c = 0; c < n_c; c++) {
            const int8_t *at = o->s8 + (c0 + c) * n_in + k;
            const __m256i weight = load_bytes(at);
            prefetch(at, n_c * n_in);
            for (size_t r = 0; r < n_r; r++)
                sums[r][c] = _mm256_dpbusd_epi32(sums[r][c], values[r], weight);
        }
    }
    store_sums(o, n_r, n_c, r0, c0, sums, n_whole);
}

/* A strip is n_r rows of x against weight rows [begin, end), in blocks of n_c. A chunk is all rows
   against those: fours, then what is left, while the chunk lies in a cache. One text for all kinds of
   block, as n_r and n_c are to be constants in each. */
#define STRIPS(name, target, block)                                                               \
    target INLINE void name##_strip(const operands *o, look_ahead *ahead, size_t n_r, size_t n_c, \
                                    size_t r, size_t begin, size_t end) {                         \
        size_t c = begin;                                                                         \
        for (; c + n_c <= end; c += n_c) block(o, ahead, n_r, n_c, r, c);                         \
        for (; c < end; c++) block(o, ahead, n_r, 1, r, c);                                       \
    }                                                                                             \
    target INLINE void name##_strips(const operands *o, look_ahead *ahead, size_t begin,          \
                                     size_t end) {                                                \
        const size_t n_rows = o->size.n_rows;                                                     \
        size_t r = 0;                                                                             \
        for (; r + 4 <= n_rows; r += 4) name##_strip(o, ahead, 4, 3, r, begin, end);              \
        switch (n_rows - r) {                                                                     \
        case 3:                                                                                   \
            name##_strip(o, ahead, 3, 4, r, begin, end);                                          \
            break;                                                                                \
        case 2:                                                                                   \
            name##_strip(o, ahead, 2, 4, r, begin, end);                                          \
            break;                                                                                \
        case 1:                                                                                   \
            name##_strip(o, ahead, 1, 4, r, begin, end);                                          \
            break;                                                                                \
        }                                                                                         \
    }
STRIPS(f32_once, AVX2, multiply_f32_once)
STRIPS(f32_again, AVX2, multiply_f32_again)
STRIPS(bf16, AVX2, multiply_bf16)
STRIPS(s16, AVX2, multiply_s16)
STRIPS(vnni, VNNI, multiply_vnni)

enum {
    CHUNK = 24,              /* weight rows: whole blocks of 3 and 4; 55 KB of f32 at n_in 576 */
    WORTH_THREADS = 1 << 15, /* products; below, starting threads costs more than it saves */
    WORTH_EXPANDING = 8, /* rows for which bf16 becomes f32 in memory, not again for every strip */
    PANEL_VALUES = 16 << 10, /* of those that are f32 at a time: 64 KB of a thread's stack */
};

AVX2 static void f32_chunk(const operands *o, look_ahead *ahead, size_t begin, size_t end) {
    if (o->size.n_rows > 4)
        f32_again_strips(o, ahead, begin, end);
    else
        f32_once_strips(o, NULL, begin, end);
}

AVX2 static void bf16_chunk(const operands *o, look_ahead *ahead, size_t begin, size_t end) {
    const size_t n_in = o->size.n_in, n_panel = n_in > 0 ? PANEL_VALUES / n_in / 3 * 3 : 0;
    if (o->size.n_rows < WORTH_EXPANDING || n_panel == 0) {
        bf16_strips(o, NULL, begin, end);
        return;
    }
    float panel[PANEL_VALUES];
    for (size_t c = begin; c < end; c += n_panel) {
        const size_t n = end - c < n_panel ? end - c : n_panel;
        const uint16_t *weight = o->bf16 + c * n_in;
        sp_bf16_to_f32(panel, weight, n * n_in);
        const operands part = {.size = o->size, .y = o->y + c, .x = o->x, .f32 = panel};
        f32_again_strips(&part, ahead, 0, n);
    }
}

AVX2 static void s16_chunk(const operands *o, look_ahead *ahead, size_t begin, size_t end) {
    (void)ahead;
    s16_strips(o, NULL, begin, end);
}

VNNI static void vnni_chunk(const operands *o, look_ahead *ahead, size_t begin, size_t end) {
    (void)ahead;
    vnni_strips(o, NULL, begin, end);
}

/* Weight rows of one thread, [next, end), from which others take what it has not come to once they are
   done with theirs: cores are seldom equally fast, be it that other work has a part of one. */
typedef struct share {
    alignas(64) _Atomic size_t next; /* in a cache line of its own */
    size_t end;
} share;

enum { MOST_SHARES = 64 };

/* Takes the next chunk of share `first`, or of those after it. */
static bool take_chunk(share *shares, size_t n_shares, size_t first, size_t *begin, size_t *end) {
    for (size_t i = 0; i < n_shares; i++) {
        share *from = &shares[(first + i) % n_shares];
        if (atomic_load_explicit(&from->next, memory_order_relaxed) >= from->end) continue;
        *begin = atomic_fetch_add_explicit(&from->next, CHUNK, memory_order_relaxed);
        if (*begin >= from->end) continue;
        *end = from->end - *begin < CHUNK ? from->end : *begin + CHUNK;
        return true;
    }
    return false;
}

/* Bytes of the next chunk for each step over k in all the strips of one. */
static size_t look_ahead_stride(const sp_few_rows *size, size_t row_bytes) {
    const size_t left = size->n_rows % 4;
    const size_t n_blocks = size->n_rows / 4 * (CHUNK / 3) + (left > 0 ? CHUNK / 4 : 0);
    const size_t n_steps = n_blocks * (size->n_in / 8);
    return n_steps == 0 ? 0 : (CHUNK * row_bytes + n_steps - 1) / n_steps;
}

static void multiply(const operands *o, const void *weight, size_t value_bytes,
                     void (*chunk)(const operands *, look_ahead *, size_t, size_t)) {
    const size_t n_out = o->size.n_out, n_chunks = (n_out + CHUNK - 1) / CHUNK;
    const bool is_large = o->size.n_rows * n_out * o->size.n_in >= WORTH_THREADS;
    const size_t n_threads = is_large && !omp_in_parallel() ? (size_t)omp_get_max_threads() : 1;
    const size_t n_shares = n_threads < MOST_SHARES ? n_threads : MOST_SHARES;
    const size_t row_bytes = o->size.n_in * value_bytes;
    const size_t stride = look_ahead_stride(&o->size, row_bytes);
    share shares[MOST_SHARES];
    for (size_t i = 0; i < n_shares; i++) {
        const size_t end = n_chunks * (i + 1) / n_shares * CHUNK;
        atomic_init(&shares[i].next, n_chunks * i / n_shares * CHUNK);
        shares[i].end = end < n_out ? end : n_out;
    }
#pragma omp parallel if (n_threads > 1)
    {
        const size_t own = (size_t)omp_get_thread_num() % n_shares;
        size_t begin, end, next_begin = 0, next_end = 0;
        bool is_there = take_chunk(shares, n_shares, own, &begin, &end);
        while (is_there) {
            is_there = take_chunk(shares, n_shares, own, &next_begin, &next_end);
            look_ahead ahead = {(uintptr_t)weight + (is_there ? next_begin : begin) * row_bytes,
                                is_there ? stride : 0};
            chunk(o, &ahead, begin, end);
            begin = next_begin, end = next_end;
        }
    }
}

static void f32_avx2(sp_few_rows size, float *y, const float *x, const float *weight) {
    multiply(&(operands){.size = size, .y = y, .x = x, .f32 = weight}, weight, sizeof *weight,
             f32_chunk);
}

static void bf16_avx2(sp_few_rows size, float *y, const float *x, const uint16_t *weight) {
    multiply(&(operands){.size = size, .y = y, .x = x, .bf16 = weight}, weight, sizeof *weight,
             bf16_chunk);
}

static void s16s8_avx2(sp_few_rows size, int32_t *y, const int16_t *x, const int8_t *weight) {
    multiply(&(operands){.size = size, .y_s32 = y, .x_s16 = x, .s8 = weight}, weight,
             sizeof *weight, s16_chunk);
}

static void u8s8_vnni(sp_few_rows size, int32_t *y, const uint8_t *x, const int8_t *weight) {
    multiply(&(operands){.size = size, .y_s32 = y, .x_u8 = x, .s8 = weight}, weight, sizeof *weight,
             vnni_chunk);
}

static bool has_avx2(void) { return sp_cpu_may_use(SP_ISA_AVX2); }

static bool has_vnni(void) { return sp_cpu_may_use(SP_ISA_AVX512_VNNI); }

#endif

/* Rows: on Zen 1 these stay ahead of oneDNN's products, which pack the weight first, up to 32 rows in
   f32; wider vectors and VNNI let a library catch up sooner. */
enum { MOST_ROWS_AVX2 = 32, MOST_ROWS_AVX512 = 16 };

const sp_few_rows_kernel sp_few_rows_kernels[] = {
#if defined(__x86_64__)
    {"AVX2 and VNNI", has_vnni, MOST_ROWS_AVX512, f32_avx2, bf16_avx2, u8s8_vnni, s16s8_avx2},
    {"AVX2", has_avx2, MOST_ROWS_AVX2, f32_avx2, bf16_avx2, u8s8_ref, s16s8_avx2},
#endif
    {"reference", always, 0, f32_ref, bf16_ref, u8s8_ref, s16s8_ref},
};
const size_t sp_few_rows_n_kernels = sizeof sp_few_rows_kernels / sizeof sp_few_rows_kernels[0];

const sp_few_rows_kernel *sp_few_rows_chosen(void) {
    const sp_few_rows_kernel *kernel = sp_few_rows_kernels;
    while (!kernel->supported()) kernel++; /* ends at the reference */
    return kernel;
}
