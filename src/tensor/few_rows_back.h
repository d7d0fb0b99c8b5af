/* Products of few rows with a stored weight the other way, dx += dy weight: as few_rows.h's, the weight is
   read once, straight through, and expanded to f32 in registers.

   dy [n_rows, n_out], weight [n_out, n_in], dx [n_rows, n_in], row-major without padding; dx overlaps
   neither; n_out and n_in may be 0, n_rows is at most SP_FEW_ROWS_BACK. Each value of dx is summed in an
   order that n_out alone decides: a row comes out the same bits whatever rows are beside it, and on any
   number of threads. Runs on all OpenMP threads, or on the calling one alone inside a parallel region. */
#pragma once

#include "tensor/few_rows.h"

enum { SP_FEW_ROWS_BACK = 32 };

typedef struct sp_few_rows_back_kernel {
    const char *name;
    bool (*supported)(void);
    size_t most_bf16,
        most_s8; /* rows up to which it is faster than a library's, of expanded weights */
    void (*bf16)(sp_few_rows size, float *dx, const float *dy, const uint16_t *weight);
    /* Row i of the weight stands for scales[i] times its values. */
    void (*s8)(sp_few_rows size, float *dx, const float *dy, const int8_t *weight,
               const float *scales);
} sp_few_rows_back_kernel;

/* Every version, fastest first; the last is the reference and runs anywhere. */
extern const sp_few_rows_back_kernel sp_few_rows_back_kernels[];
extern const size_t sp_few_rows_back_n_kernels;

/* The first version that is supported. */
const sp_few_rows_back_kernel *sp_few_rows_back_chosen(void);
