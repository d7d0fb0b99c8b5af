#include "tensor/tensor.h"

#include "tensor/cpu.h"
#include "tensor/dequantize.h"
#include "tensor/f16.h"

#include <assert.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

const sp_dtype_info sp_dtypes[SP_N_DTYPES] = {
    [SP_F32] = {"F32", 1, 4},       [SP_F16] = {"F16", 1, 2},     [SP_BF16] = {"BF16", 1, 2},
    [SP_Q8_0] = {"Q8_0", 32, 34},   [SP_Q4_0] = {"Q4_0", 32, 18}, [SP_Q4_1] = {"Q4_1", 32, 20},
    [SP_Q5_0] = {"Q5_0", 32, 22},   [SP_Q5_1] = {"Q5_1", 32, 24}, [SP_Q4_K] = {"Q4_K", 256, 144},
    [SP_Q6_K] = {"Q6_K", 256, 210},
};

size_t sp_tensor_n_values(const sp_tensor *tensor) {
    size_t n = 1;
    for (size_t i = 0; i < tensor->n_dims; i++) n *= tensor->shape[i];
    return n;
}

size_t sp_tensor_row_values(const sp_tensor *tensor) {
    return tensor->n_dims == 0 ? 1 : tensor->shape[tensor->n_dims - 1];
}

size_t sp_dtype_bytes(sp_dtype dtype, size_t n_values) {
    assert(n_values % sp_dtypes[dtype].block_values == 0);
    return n_values / sp_dtypes[dtype].block_values * sp_dtypes[dtype].block_bytes;
}

static uint16_t load_u16(const uint8_t *bytes) {
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static void copy_f32(float *restrict out, const uint8_t *restrict bytes, size_t n) {
    if (n > 0) memcpy(out, bytes, n * sizeof *out);
}

SP_CLONES static void convert_f16(float *restrict out, const uint8_t *restrict bytes, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = sp_f16_value(load_u16(bytes + 2 * i));
}

/* Eight at a time by halves, as the compiler's whole vectors are put in order by slow shuffles. */
SP_CLONES static void convert_bf16(float *restrict out, const uint8_t *restrict bytes, size_t n) {
    size_t i = 0;
#if defined(__x86_64__)
    for (; i + 8 <= n; i += 8) {
        const __m128i zero = _mm_setzero_si128();
        const __m128i bits = _mm_loadu_si128((const void *)(bytes + 2 * i));
        _mm_storeu_si128((void *)(out + i), _mm_unpacklo_epi16(zero, bits));
        _mm_storeu_si128((void *)(out + i + 4), _mm_unpackhi_epi16(zero, bits));
    }
#endif
    for (; i < n; i++) out[i] = sp_float_of_bits((uint32_t)load_u16(bytes + 2 * i) << 16);
}

/* How n blocks of each type become f32; the bytes may lie anywhere. */
static void (*const convert[SP_N_DTYPES])(float *restrict, const uint8_t *restrict, size_t) = {
    [SP_F32] = copy_f32,
    [SP_F16] = convert_f16,
    [SP_BF16] = convert_bf16,
    [SP_Q8_0] = sp_dequantize_q8_0,
    [SP_Q4_0] = sp_dequantize_q4_0,
    [SP_Q4_1] = sp_dequantize_q4_1,
    [SP_Q5_0] = sp_dequantize_q5_0,
    [SP_Q5_1] = sp_dequantize_q5_1,
    [SP_Q4_K] = sp_dequantize_q4_k,
    [SP_Q6_K] = sp_dequantize_q6_k,
};

/* Where row `r` of a matrix, or value `r` of a vector, is stored: (h, j, i) at (h, i, j). */
static size_t stored_row(const sp_tensor *tensor, size_t r) {
    if (tensor->n_interleaved_heads == 0) return r;
    const size_t head_dim = tensor->shape[0] / tensor->n_interleaved_heads;
    const size_t first = r / head_dim * head_dim, in_head = r % head_dim;
    const size_t j = in_head / (head_dim / 2), i = in_head % (head_dim / 2);
    return first + 2 * i + j;
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

enum {
    WORTH_THREADS = 1 << 16, /* values; below, starting threads costs more than it saves */
    TILE = 64                /* 256 bytes of a stored row; 16 KiB of f32 lie in the L1 cache */
};

/* Writes out[r, i] = stored[i, begin + r] for r < n_rows and i of [first, first + n_in), rows of
   `out` being shape[1] apart. n_rows and n_in are at most TILE. */
static void read_tile(const sp_tensor *tensor, float *out, size_t begin, size_t n_rows,
                      size_t first, size_t n_in) {
    float tile[TILE][TILE];
    const size_t n_stored = tensor->shape[0], value_bytes = sp_dtypes[tensor->dtype].block_bytes;
    const uint8_t *data = (const uint8_t *)tensor->data + (first * n_stored + begin) * value_bytes;
    for (size_t i = 0; i < n_in; i++)
        convert[tensor->dtype](tile[i], data + i * n_stored * value_bytes, n_rows);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < n_in; i++) out[r * tensor->shape[1] + first + i] = tile[i][r];
}

static void read_transposed(const sp_tensor *tensor, float *out, size_t begin, size_t n_rows) {
    assert(tensor->n_dims == 2 && tensor->n_interleaved_heads == 0 &&
           sp_dtypes[tensor->dtype].block_values == 1);
    const size_t n = tensor->shape[1];
#pragma omp parallel for collapse(2) schedule(static) if (n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r += TILE)
        for (size_t i = 0; i < n; i += TILE)
            read_tile(tensor, out + r * n, begin + r, min_size(n_rows - r, TILE), i,
                      min_size(n - i, TILE));
}

static void read_stored(const sp_tensor *tensor, float *out, size_t begin, size_t n_rows) {
    const size_t n = sp_tensor_row_values(tensor);
    const size_t row_bytes = sp_dtype_bytes(tensor->dtype, n);
    const size_t n_blocks = n / sp_dtypes[tensor->dtype].block_values;
    const uint8_t *data = tensor->data;
#pragma omp parallel for schedule(static) if (n_rows > 1 && n_rows * n >= WORTH_THREADS)
    for (size_t r = 0; r < n_rows; r++)
        convert[tensor->dtype](out + r * n, data + stored_row(tensor, begin + r) * row_bytes,
                               n_blocks);
}

/* Its values lie as a matrix's rows do. */
static void read_interleaved_vector(const sp_tensor *tensor, float *out) {
    const size_t value_bytes = sp_dtypes[tensor->dtype].block_bytes;
    assert(sp_dtypes[tensor->dtype].block_values == 1);
    for (size_t i = 0; i < tensor->shape[0]; i++)
        convert[tensor->dtype](
            out + i, (const uint8_t *)tensor->data + stored_row(tensor, i) * value_bytes, 1);
}

void sp_tensor_read_rows(const sp_tensor *tensor, float *out, size_t begin, size_t n_rows) {
    if (tensor->is_transposed)
        read_transposed(tensor, out, begin, n_rows);
    else if (tensor->n_interleaved_heads > 0 && tensor->n_dims == 1 && n_rows > 0)
        read_interleaved_vector(tensor, out);
    else
        read_stored(tensor, out, begin, n_rows);
}

/* NaN stays NaN: rounding could carry its mantissa into the exponent. */
SP_CLONES void sp_f32_to_bf16(uint16_t *restrict out, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = sp_bits_of_float(x[i]);
        const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
        const uint32_t quiet_nan = bits | 0x400000;
        out[i] = (uint16_t)(((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded) >> 16);
    }
}

void sp_bf16_to_f32(float *restrict out, const uint16_t *restrict x, size_t n) {
    convert_bf16(out, (const uint8_t *)x, n);
}

/* The FPU rounds: added to 4x, a power of two 2^15 above x's own leaves room for f16's ten bits of
   mantissa below it, and no more. Subnormals of f16 all meet the least such power; what is beyond
   f16 becomes infinity in the first product.
   (method: github.com/Maratyszcza/FP16, fp16_ieee_from_fp32_value) */
static inline uint16_t f16_of_float(float x) {
    const uint32_t bits = sp_bits_of_float(x);
    const uint32_t magnitude = bits & 0x7fffffff;
    const float scaled = sp_float_of_bits(magnitude) * 0x1p+112f * 0x1p-110f;
    const uint32_t exponent = magnitude & 0x7f800000;
    const uint32_t least = 0x38800000; /* 2^-14, the least normal f16 */
    const float adder = sp_float_of_bits((exponent < least ? least : exponent) + (15u << 23));
    const uint32_t sum = sp_bits_of_float(adder + scaled);
    const uint32_t rounded = (sum >> 13 & 0x7c00) + (sum & 0xfff);
    return (uint16_t)(bits >> 16 & 0x8000) | (uint16_t)(magnitude > 0x7f800000 ? 0x7e00 : rounded);
}

SP_CLONES void sp_f32_to_f16(uint16_t *restrict out, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = f16_of_float(x[i]);
}

void sp_f16_to_f32(float *restrict out, const uint16_t *restrict x, size_t n) {
    convert_f16(out, (const uint8_t *)x, n);
}
