/* How slots are stored: f32 rows to and from what a slot file holds.

       f16, bf16  rounded to nearest even
       int8       of each row its scale, the largest magnitude / 127, and the values divided by it
                  and rounded to nearest even */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum sp_slots_dtype {
    SP_SLOTS_F16,
    SP_SLOTS_BF16,
    SP_SLOTS_INT8,
    SP_N_SLOTS_DTYPES
} sp_slots_dtype;

/* How they are spelled, in the order of the enum; NULL ends them. */
extern const char *const sp_slots_dtype_names[SP_N_SLOTS_DTYPES + 1];

/* Bytes of n values, scales apart. */
size_t sp_slots_value_bytes(sp_slots_dtype dtype, size_t n);

/* Has the type a scale for each row? */
bool sp_slots_has_scales(sp_slots_dtype dtype);

/* Packs x [n, d] to values [n, d] and, where the type has them, scales [n] (else NULL). SP_NUMERIC:
   a value that is not finite, or beyond the type's range. */
SP_NODISCARD sp_status sp_slots_pack(sp_slots_dtype dtype, void *values, float *scales,
                                     const float *x, size_t n, size_t d);

/* The reverse. */
void sp_slots_unpack(sp_slots_dtype dtype, float *x, const void *values, const float *scales,
                     size_t n, size_t d);
