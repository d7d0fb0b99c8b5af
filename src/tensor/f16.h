/* One IEEE half-precision number to f32 by integer and float arithmetic without a branch, so that
   loops over it vectorise on every CPU. Exact, subnormals, infinities and NaN included.

   (method: github.com/Maratyszcza/FP16, fp16_ieee_to_fp32_value) */
#pragma once

#include <stdint.h>
#include <string.h>

static inline float sp_float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t sp_bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float sp_f16_value(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t magnitude = half & 0x7fff;
    /* Exponent and mantissa move into place; the exponent's bias grows by 224 first and 112 are
       divided out again, so that 31 (infinity, NaN) becomes 255. */
    const float normal = sp_float_of_bits((magnitude << 13) + (224u << 23)) * 0x1p-112f;
    /* A subnormal is its mantissa times 2^-24: put below the 1 of 0.5, whose last bit is 2^-24. */
    const float subnormal = sp_float_of_bits(magnitude | (126u << 23)) - 0.5f;
    return sp_float_of_bits(sign | sp_bits_of_float(magnitude < 0x400 ? subnormal : normal));
}
