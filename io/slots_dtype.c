#include "io/slots_dtype.h"

#include "tensor/tensor.h"

#include <math.h>
#include <stdint.h>

const char *const sp_slots_dtype_names[SP_N_SLOTS_DTYPES + 1] = {"f16", "bf16", "int8", NULL};

/* 2^16 (1 - 2^-12): from here on f16 rounds to infinity; likewise bf16 from 2^128 (1 - 2^-9). */
static const float f16_end = 65520, bf16_end = 0x1.ffp127F;

size_t sp_slots_value_bytes(sp_slots_dtype dtype, size_t n) {
    return dtype == SP_SLOTS_INT8 ? n : n * sizeof(uint16_t);
}

bool sp_slots_has_scales(sp_slots_dtype dtype) { return dtype == SP_SLOTS_INT8; }

static sp_status check(sp_slots_dtype dtype, const float *x, size_t n, size_t d) {
    const float ends[] = {f16_end, bf16_end, INFINITY};
    for (size_t i = 0; i < n * d; i++)
        if (!(fabsf(x[i]) < ends[dtype])) /* so written, NaN is refused */
            return sp_fail(SP_NUMERIC, "slot %zu: %g cannot be stored as %s", i / d, (double)x[i],
                           sp_slots_dtype_names[dtype]);
    return SP_OK;
}

static void pack_int8(int8_t *values, float *scale, const float *x, size_t d) {
    float most = 0;
    for (size_t i = 0; i < d; i++) most = fmaxf(most, fabsf(x[i]));
    *scale = most / 127;
    /* A row so small that its scale has lost digits, or is 0, divides to more than 127. */
    for (size_t i = 0; i < d; i++)
        values[i] = *scale > 0 ? (int8_t)fmaxf(-127, fminf(127, rintf(x[i] / *scale))) : 0;
}

sp_status sp_slots_pack(sp_slots_dtype dtype, void *values, float *scales, const float *x, size_t n,
                        size_t d) {
    SP_TRY(check(dtype, x, n, d));
    if (dtype == SP_SLOTS_F16) sp_f32_to_f16(values, x, n * d);
    if (dtype == SP_SLOTS_BF16) sp_f32_to_bf16(values, x, n * d);
    for (size_t i = 0; dtype == SP_SLOTS_INT8 && i < n; i++)
        pack_int8((int8_t *)values + i * d, &scales[i], x + i * d, d);
    return SP_OK;
}

void sp_slots_unpack(sp_slots_dtype dtype, float *x, const void *values, const float *scales,
                     size_t n, size_t d) {
    if (dtype == SP_SLOTS_F16) sp_f16_to_f32(x, values, n * d);
    if (dtype == SP_SLOTS_BF16) sp_bf16_to_f32(x, values, n * d);
    for (size_t i = 0; dtype == SP_SLOTS_INT8 && i < n * d; i++)
        x[i] = scales[i / d] * (float)((const int8_t *)values)[i];
}
