#include "tensor/few_rows_back.h"

#include "tensor/cpu.h"
#include "tensor/f16.h"

#include <assert.h>
#include <omp.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool always(void) { return true; }

static float bf16_value(uint16_t bits) { return sp_float_of_bits((uint32_t)bits << 16); }

/* ---- the definition ---- */

static void bf16_ref(sp_few_rows size, float *dx, const float *dy, const uint16_t *weight) {
    for (size_t r = 0; r < size.n_rows; r++)
        for (size_t i = 0; i < size.n_out; i++)
            for (size_t k = 0; k < size.n_in; k++)
                dx[r * size.n_in + k] +=
                    dy[r * size.n_out + i] * bf16_value(weight[i * size.n_in + k]);
}

static void s8_ref(sp_few_rows size, float *dx, const float *dy, const int8_t *weight,
                   const float *scales) {
    for (size_t r = 0; r < size.n_rows; r++)
        for (size_t i = 0; i < size.n_out; i++)
            for (size_t k = 0; k < size.n_in; k++)
                dx[r * size.n_in + k] +=
                    dy[r * size.n_out + i] * scales[i] * (float)weight[i * size.n_in + k];
}

/* ---- x86-64 ---- */

#if defined(__x86_64__)

/* What is multiplied: one of the weights is there. */
typedef struct operands {
    sp_few_rows size;
    float *dx;
    const float *dy;
    const uint16_t *bf16;
    const int8_t *s8;
    const float *scales;
} operands;

/* A block is DEEP rows of the weight, a strip WIDE vectors of each of these, which stay in registers while
   every row of dx takes its sums over them: a value of dx is read and written once for DEEP products,
   and a coefficient serves WIDE. 12 vectors, 2 sums and a coefficient are 15 registers of 16. */
enum { DEEP = 6, WIDE = 2, VECTOR = 8, STRIP = WIDE * VECTOR };

/* Columns of dx that are at hand while the weight's rows go by: they stay in a second-level cache. */
enum { DX_BYTES = 128 << 10 };

enum { WORTH_THREADS = 1 << 15 }; /* products; below, starting threads costs more than it saves */

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))

/* Coefficients of a block: of each row of dx for each of the weight's. */
typedef float coefficients[SP_FEW_ROWS_BACK][DEEP];

AVX2 INLINE void gather(const operands *o, coefficients c, size_t n_rows, size_t i0,
                        size_t n_deep) {
    for (size_t r = 0; r < n_rows; r++)
        for (size_t j = 0; j < n_deep; j++)
            c[r][j] =
                o->dy[r * o->size.n_out + i0 + j] * (o->scales != NULL ? o->scales[i0 + j] : 1);
}

/* At the begin of a cache line, asks for the place `ahead` values on, in the next block's row, which may
   lie beyond the weight. */
AVX2 INLINE void prefetch(const void *value, size_t column, size_t value_bytes, size_t ahead) {
    enum { LINE = 64 };
    if (column * value_bytes % LINE == 0)
        _mm_prefetch((const void *)((uintptr_t)value + ahead * value_bytes), _MM_HINT_T0);
}

/* VECTOR values of weight row i, from column k on. */
AVX2 INLINE __m256 load_bf16(const operands *o, size_t i, size_t k, size_t n_deep) {
    const uint16_t *values = o->bf16 + i * o->size.n_in + k;
    prefetch(values, k, sizeof *values, n_deep * o->size.n_in);
    const __m128i bits = _mm_loadu_si128((const void *)values);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

AVX2 INLINE __m256 load_s8(const operands *o, size_t i, size_t k, size_t n_deep) {
    const int8_t *values = o->s8 + i * o->size.n_in + k;
    prefetch(values, k, sizeof *values, n_deep * o->size.n_in);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)values)));
}

static float value_bf16(const operands *o, size_t at) { return bf16_value(o->bf16[at]); }
static float value_s8(const operands *o, size_t at) { return (float)o->s8[at]; }

/* Adds the block of n_deep weight rows from i0 on to columns [begin, end) of n_rows rows. These numbers
   are constants where they are written down, n_rows if it is 1, so that vectors are registers. A tile is
   those columns against all of the weight. One text for both kinds of weight. */
#define BLOCKS(kind)                                                                               \
    AVX2 INLINE void kind##_strip(const operands *o, coefficients c, size_t n_deep, size_t n_wide, \
                                  size_t n_rows, size_t i0, size_t k) {                            \
        __m256 w[DEEP][WIDE];                                                                      \
        for (size_t j = 0; j < n_deep; j++)                                                        \
            for (size_t v = 0; v < n_wide; v++)                                                    \
                w[j][v] = load_##kind(o, i0 + j, k + v * VECTOR, n_deep);                          \
        for (size_t r = 0; r < n_rows; r++) {                                                      \
            float *out = o->dx + r * o->size.n_in + k;                                             \
            __m256 sums[WIDE];                                                                     \
            for (size_t v = 0; v < n_wide; v++) sums[v] = _mm256_loadu_ps(out + v * VECTOR);       \
            for (size_t j = 0; j < n_deep; j++) {                                                  \
                const __m256 factor = _mm256_broadcast_ss(&c[r][j]);                               \
                for (size_t v = 0; v < n_wide; v++)                                                \
                    sums[v] = _mm256_fmadd_ps(factor, w[j][v], sums[v]);                           \
            }                                                                                      \
            for (size_t v = 0; v < n_wide; v++) _mm256_storeu_ps(out + v * VECTOR, sums[v]);       \
        }                                                                                          \
    }                                                                                              \
    AVX2 INLINE void kind##_block(const operands *o, size_t n_deep, size_t n_rows, size_t i0,      \
                                  size_t begin, size_t end) {                                      \
        const size_t n_in = o->size.n_in;                                                          \
        coefficients c;                                                                            \
        gather(o, c, n_rows, i0, n_deep);                                                          \
        size_t k = begin;                                                                          \
        for (; k + STRIP <= end; k += STRIP) kind##_strip(o, c, n_deep, WIDE, n_rows, i0, k);      \
        for (; k + VECTOR <= end; k += VECTOR) kind##_strip(o, c, n_deep, 1, n_rows, i0, k);       \
        for (; k < end; k++)                                                                       \
            for (size_t r = 0; r < n_rows; r++)                                                    \
                for (size_t j = 0; j < n_deep; j++)                                                \
                    o->dx[r * n_in + k] += c[r][j] * value_##kind(o, (i0 + j) * n_in + k);         \
    }                                                                                              \
    AVX2 INLINE void kind##_rows(const operands *o, size_t n_rows, size_t begin, size_t end) {     \
        size_t i = 0;                                                                              \
        for (; i + DEEP <= o->size.n_out; i += DEEP) kind##_block(o, DEEP, n_rows, i, begin, end); \
        for (; i < o->size.n_out; i++) kind##_block(o, 1, n_rows, i, begin, end);                  \
    }                                                                                              \
    AVX2 static void kind##_tile(const operands *o, size_t begin, size_t end) {                    \
        if (o->size.n_rows == 1)                                                                   \
            kind##_rows(o, 1, begin, end);                                                         \
        else                                                                                       \
            kind##_rows(o, o->size.n_rows, begin, end);                                            \
    }
BLOCKS(bf16)
BLOCKS(s8)

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* A thread has columns of its own. */
static void multiply(const operands *o, void (*tile)(const operands *, size_t, size_t)) {
    const size_t n_rows = o->size.n_rows, n_in = o->size.n_in;
    assert(n_rows <= SP_FEW_ROWS_BACK);
    if (n_rows == 0 || n_in == 0) return;
    const bool is_large = n_rows * o->size.n_out * n_in >= WORTH_THREADS && !omp_in_parallel();
    const size_t n_threads = is_large ? (size_t)omp_get_max_threads() : 1;
    const size_t share = (n_in + n_threads - 1) / n_threads;
    const size_t most = DX_BYTES / sizeof(float) / n_rows;
    const size_t width = (min_size(share, most) + STRIP - 1) / STRIP * STRIP;
#pragma omp parallel for schedule(static) if (is_large)
    for (size_t begin = 0; begin < n_in; begin += width)
        tile(o, begin, min_size(n_in, begin + width));
}

static void bf16_avx2(sp_few_rows size, float *dx, const float *dy, const uint16_t *weight) {
    multiply(&(operands){.size = size, .dx = dx, .dy = dy, .bf16 = weight}, bf16_tile);
}

static void s8_avx2(sp_few_rows size, float *dx, const float *dy, const int8_t *weight,
                    const float *scales) {
    multiply(&(operands){.size = size, .dx = dx, .dy = dy, .s8 = weight, .scales = scales},
             s8_tile);
}

static bool has_avx2(void) { return sp_cpu_may_use(SP_ISA_AVX2); }

#endif

/* On Zen 1, which multiplies f32 at 37 GFLOP/s, these come to 8, 22 and 25 at 1, 8 and 32 rows; expanding
   bf16 first to 5, 21 and 30, which at Llama-3-8B's widths are 3 and 10; expanding s8, whose rows are to
   be turned then, to 1, 7 and 19. */
const sp_few_rows_back_kernel sp_few_rows_back_kernels[] = {
#if defined(__x86_64__)
    {"AVX2", has_avx2, 8, SP_FEW_ROWS_BACK, bf16_avx2, s8_avx2},
#endif
    {"reference", always, 0, 0, bf16_ref, s8_ref},
};
const size_t sp_few_rows_back_n_kernels =
    sizeof sp_few_rows_back_kernels / sizeof sp_few_rows_back_kernels[0];

const sp_few_rows_back_kernel *sp_few_rows_back_chosen(void) {
    const sp_few_rows_back_kernel *kernel = sp_few_rows_back_kernels;
    while (!kernel->supported()) kernel++; /* ends at the reference */
    return kernel;
}
