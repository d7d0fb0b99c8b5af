/* Quantisation for products of u8 or s16 activations with s8 weights:

       weight H / b = scale[i] q[i, k]                  q in [-127, 127], a scale for each output
       x H          = scale[r] (q[r, k] - zero[r])      a scale for each row, 0 exact; q in [0, 255]; or
                                                        zero = 0 and |q| at most as large as s16 holds
                                                        and a sum of n products fits s32

       sum_k x weight = scale[r] scale[i] (sum_k q[r, k] q[i, k] - zero[r] sum[i])
       with sum[i] = sum_k q[i, k]

   H turns rows before they are rounded (as QuaRot does, Ashkboos et al. 2024, arXiv 2404.00456): a
   language model's activations have a few values that are tens of times the others, and one scale for
   a row would leave little of these. H is symmetric, of +1 and -1, with H H = b: b = 2^t, at most 128,
   divides n, and each value is mixed with the b - 1 others at multiples of n / b from it
   (Walsh-Hadamard). An odd n is not turned.

   Rounding is to nearest. A row that holds a value that is not finite gets NaN for its scale, so that
   its products are NaN as they should. Row-major without padding; counts may be 0. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct sp_row_scale {
    float scale;
    int32_t zero;
} sp_row_scale;

/* Writes q [n_rows, n], scales [n_rows] and sums [n_rows] of weight [n_rows, n], and overwrites
   weight. On all OpenMP threads. */
void sp_quantize_weight(int8_t *q, float *scales, int32_t *sums, float *weight, size_t n_rows,
                        size_t n);

/* Writes q [n_rows, n] and scales [n_rows] of x [n_rows, n]. On all OpenMP threads; `room` is of
   sp_quantize_room_bytes(n), 64-byte aligned. */
void sp_quantize_rows_u8(uint8_t *q, sp_row_scale *scales, const float *x, size_t n_rows, size_t n,
                         void *room);
void sp_quantize_rows_s16(int16_t *q, sp_row_scale *scales, const float *x, size_t n_rows, size_t n,
                          void *room);
size_t sp_quantize_room_bytes(size_t n);

/* Writes the weight's row [n] that q and its scale stand for. One thread. */
void sp_quantize_expand(float *restrict out, const int8_t *restrict q, float scale, size_t n);

/* Turns rows x [n_rows, n] by H, in place. On all OpenMP threads. */
void sp_quantize_turn(float *x, size_t n_rows, size_t n);

/* Turns columns [0, n) of n_rows rows of sums, ld apart, into their products, in place: y is s32
   before and f32 after. scales [n_rows] are of the rows; weight_scales and weight_sums [n] of the
   columns. On all OpenMP threads. */
void sp_quantize_finish(void *y, size_t ld, const sp_row_scale *scales, const float *weight_scales,
                        const int32_t *weight_sums, size_t n_rows, size_t n);
