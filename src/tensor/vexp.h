/* exp() that compilers turn into vector code, for the kernels' inner loops. */
#pragma once

#include <stdint.h>

/* exp(x) within 2 units in the last place; 0 below -87.3, 2.4e38 above 88.3, NaN for NaN.

   x = n ln 2 + r with |r| <= ln 2 / 2, and exp(r) as its series up to r^7/7!. n comes from adding
   1.5 * 2^23, whose last mantissa bits then hold it; they move into the exponent. ln 2 is taken off
   in two parts, the first short enough that its product with n is exact. */
static inline float sp_vexp(float x) {
    const float low = -87.3F, high = 88.3F, shift = 12582912.0F;
    const float ln2_high = 0.693359375F, ln2_low = -2.12194440e-4F;
    const float clamped = x > high ? high : x;
    union {
        float value;
        uint32_t bits;
    } n = {.value = clamped * 1.44269504F + shift}, power;
    power.bits = (n.bits << 23) + 0x3F800000U;
    n.value -= shift;
    const float r = (clamped - n.value * ln2_high) - n.value * ln2_low;
    float series = 1.0F / 5040;
    series = series * r + 1.0F / 720;
    series = series * r + 1.0F / 120;
    series = series * r + 1.0F / 24;
    series = series * r + 1.0F / 6;
    series = series * r + 0.5F;
    series = series * r * r + r + 1.0F;
    return x < low ? 0.0F : series * power.value;
}
