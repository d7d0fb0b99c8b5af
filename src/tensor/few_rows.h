/* Products of few rows with a weight, y = x weight^T: the weight is read once, straight through, so
   that a step of decoding runs at the speed of memory.

   x [n_rows, n_in], weight [n_out, n_in], y [n_rows, n_out], row-major without padding; y overlaps
   neither; n_rows, n_out and n_in may be 0. Each value of y is summed in an order that n_in alone
   decides: a row comes out the same bits whatever rows are beside it, and on any number of threads.
   Runs on all OpenMP threads, or on the calling one alone inside a parallel region.

   Weights are f32; or bf16, expanded to f32 in registers, or for many rows some at a time on the
   thread's stack (64 KB); or s8 against x in u8 or s16, with exact sums in s32 as long as these hold
   them (255 x 127 x 66,000). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_few_rows {
    size_t n_rows, n_out, n_in;
} sp_few_rows;

typedef struct sp_few_rows_kernel {
    const char *name;
    bool (*supported)(void);
    size_t most_rows; /* up to which it is faster than a library's product */
    void (*f32)(sp_few_rows size, float *y, const float *x, const float *weight);
    void (*bf16)(sp_few_rows size, float *y, const float *x, const uint16_t *weight);
    void (*u8s8)(sp_few_rows size, int32_t *y, const uint8_t *x, const int8_t *weight);
    void (*s16s8)(sp_few_rows size, int32_t *y, const int16_t *x, const int8_t *weight);
} sp_few_rows_kernel;

/* Every version, fastest first; the last is the reference and runs anywhere. */
extern const sp_few_rows_kernel sp_few_rows_kernels[];
extern const size_t sp_few_rows_n_kernels;

/* The first version that is supported. */
const sp_few_rows_kernel *sp_few_rows_chosen(void);
