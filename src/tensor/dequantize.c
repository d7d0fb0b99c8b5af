#include "tensor/dequantize.h"

#include "tensor/cpu.h"
#include "tensor/f16.h"

/* Products and sums below keep ggml's order of operations: that makes them equal bit for bit. */

enum { BLOCK = 32, HALF_BLOCK = BLOCK / 2, K_BLOCK = 256 };

static float scale_at(const uint8_t *bytes) {
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return sp_f16_value(half);
}

SP_CLONES void sp_dequantize_q8_0(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { BYTES = 2 + BLOCK };
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += BLOCK) {
        const float d = scale_at(blocks);
        for (size_t i = 0; i < BLOCK; i++) out[i] = d * (float)(int8_t)blocks[2 + i];
    }
}

SP_CLONES void sp_dequantize_q4_0(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { BYTES = 2 + HALF_BLOCK };
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += BLOCK) {
        const float d = scale_at(blocks);
        const uint8_t *q = blocks + 2;
        for (size_t i = 0; i < HALF_BLOCK; i++) {
            out[i] = d * (float)((q[i] & 15) - 8);
            out[HALF_BLOCK + i] = d * (float)((q[i] >> 4) - 8);
        }
    }
}

SP_CLONES void sp_dequantize_q4_1(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { BYTES = 4 + HALF_BLOCK };
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += BLOCK) {
        const float d = scale_at(blocks), m = scale_at(blocks + 2);
        const uint8_t *q = blocks + 4;
        for (size_t i = 0; i < HALF_BLOCK; i++) {
            out[i] = d * (float)(q[i] & 15) + m;
            out[HALF_BLOCK + i] = d * (float)(q[i] >> 4) + m;
        }
    }
}

/* The fifth bits of a block: bit i is that of value i. */
static uint32_t fifth_bits(const uint8_t *bytes) {
    uint32_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return bits;
}

SP_CLONES void sp_dequantize_q5_0(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { BYTES = 6 + HALF_BLOCK };
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += BLOCK) {
        const float d = scale_at(blocks);
        const uint32_t fifth = fifth_bits(blocks + 2);
        const uint8_t *q = blocks + 6;
        for (uint32_t i = 0; i < HALF_BLOCK; i++) {
            const int32_t first = (int32_t)((q[i] & 15u) | (fifth >> i & 1u) << 4);
            const int32_t second = (int32_t)(q[i] >> 4 | (fifth >> (HALF_BLOCK + i) & 1u) << 4);
            out[i] = d * (float)(first - 16);
            out[HALF_BLOCK + i] = d * (float)(second - 16);
        }
    }
}

SP_CLONES void sp_dequantize_q5_1(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { BYTES = 8 + HALF_BLOCK };
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += BLOCK) {
        const float d = scale_at(blocks), m = scale_at(blocks + 2);
        const uint32_t fifth = fifth_bits(blocks + 4);
        const uint8_t *q = blocks + 8;
        for (uint32_t i = 0; i < HALF_BLOCK; i++) {
            const int32_t first = (int32_t)((q[i] & 15u) | (fifth >> i & 1u) << 4);
            const int32_t second = (int32_t)(q[i] >> 4 | (fifth >> (HALF_BLOCK + i) & 1u) << 4);
            out[i] = d * (float)first + m;
            out[HALF_BLOCK + i] = d * (float)second + m;
        }
    }
}

/* Q4_K packs eight scales and eight minima of 6 bits into 12 bytes: the first four of each are the
   low bits of bytes 0-3 and 4-7, whose two high bits go over the halves of bytes 8-11. */
static int q4_k_scale(const uint8_t *packed, size_t j) {
    return j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
}

static int q4_k_min(const uint8_t *packed, size_t j) {
    return j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | packed[j] >> 6 << 4;
}

SP_CLONES void sp_dequantize_q4_k(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { BYTES = 4 + 12 + K_BLOCK / 2, PART = 32 }; /* values under one scale */
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += K_BLOCK) {
        const float d = scale_at(blocks), dmin = scale_at(blocks + 2);
        const uint8_t *packed = blocks + 4;
        for (size_t j = 0; j < K_BLOCK / PART; j += 2) {
            const uint8_t *q = blocks + 16 + j / 2 * PART;
            float *y = out + j * PART;
            const float d0 = d * (float)q4_k_scale(packed, j);
            const float d1 = d * (float)q4_k_scale(packed, j + 1);
            const float m0 = dmin * (float)q4_k_min(packed, j);
            const float m1 = dmin * (float)q4_k_min(packed, j + 1);
            for (size_t i = 0; i < PART; i++) {
                y[i] = d0 * (float)(q[i] & 15) - m0;
                y[PART + i] = d1 * (float)(q[i] >> 4) - m1;
            }
        }
    }
}

/* Q6_K: half a block is four runs of 32 values. Run r has the low (r < 2) or high halves of the
   bytes of ql, and bits 2r and 2r + 1 of each byte of qh. */
SP_CLONES void sp_dequantize_q6_k(float *restrict out, const uint8_t *restrict blocks,
                                  size_t n_blocks) {
    enum { QL = K_BLOCK / 2, QH = K_BLOCK / 4, SCALES = K_BLOCK / 16, RUN = 32, PART = 16 };
    enum { BYTES = QL + QH + SCALES + 2 };
    for (size_t b = 0; b < n_blocks; b++, blocks += BYTES, out += K_BLOCK) {
        const float d = scale_at(blocks + QL + QH + SCALES);
        for (size_t run = 0; run < K_BLOCK / RUN; run++) {
            const size_t half = run / 4, r = run % 4;
            const uint8_t *ql = blocks + half * QL / 2 + r % 2 * RUN;
            const uint8_t *qh = blocks + QL + half * QH / 2;
            const int8_t *scales = (const int8_t *)blocks + QL + QH + 2 * run;
            float *y = out + run * RUN;
            const float d0 = d * (float)scales[0], d1 = d * (float)scales[1];
            for (size_t i = 0; i < RUN; i++) {
                const int32_t q = (ql[i] >> (r / 2 * 4) & 15) | (qh[i] >> (2 * r) & 3) << 4;
                y[i] = (i < PART ? d0 : d1) * (float)(q - 32);
            }
        }
    }
}
