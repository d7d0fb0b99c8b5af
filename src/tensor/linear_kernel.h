/* Inside linear.h: what a layer is made of, and the versions of its products. For linear.c and the
   tests, which hold every version to one definition. */
#pragma once

#include "tensor/dnnl_matmul.h"
#include "tensor/linear.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct sp_linear_kernel {
    const char *name;
    bool (*supported)(void);
    bool wants_matmul; /* needs sp_linear.matmul */
    size_t (*scratch_bytes)(const sp_linear *linear,
                            size_t n_rows); /* as in linear.h, like all here */
    /* Writes x as multiply reads it to the front of the scratch, by n_in and n_rows alone; NULL: multiply
       reads x, and writes to the scratch. */
    void (*convert)(const sp_linear *linear, const float *x, size_t n_rows, void *scratch);
    /* Writes y, without bias. */
    void (*multiply)(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                     void *scratch);
    void (*backward_input)(const sp_linear *linear, float *dx, float beta, const float *dy,
                           size_t n_rows, void *scratch);
} sp_linear_kernel;

extern const sp_linear_kernel sp_linear_kernel_f32;

/* Every version for bf16 weights, fastest first; the last runs anywhere. */
extern const sp_linear_kernel sp_linear_kernels_bf16[];
extern const size_t sp_linear_n_kernels_bf16;

/* The same for int8 weights. */
extern const sp_linear_kernel sp_linear_kernels_int8[];
extern const size_t sp_linear_n_kernels_int8;

/* All NULL for another precision. */
typedef struct sp_int8_weight {
    int8_t *values; /* [n_out, n_in], owned as owned_weight */
    float *scales;  /* [n_out], owned */
    int32_t *sums;  /* [n_out], owned: of the values of a row */
} sp_int8_weight;

/* The longest rows in int8: 255 x 127 x 66,311 is within s32. */
enum { SP_MOST_INT8_IN = 66311 };

struct sp_linear {
    const sp_linear_kernel *kernel; /* static */
    size_t n_out, n_in;
    const float *weight_f32;     /* [n_out, n_in], or NULL; ours, the file's or the caller's */
    const uint16_t *weight_bf16; /* the same in bf16 */
    sp_int8_weight int8;
    const float *bias;  /* [n_out], or NULL */
    void *owned_weight; /* the copy, or NULL */
    float *owned_bias;
    size_t owned_bytes;
    sp_dnnl_matmul *matmul; /* owned, or NULL */
};

/* Rounds x [n] to bf16 on all threads. */
void sp_linear_round_to_bf16(uint16_t *out, const float *x, size_t n);
