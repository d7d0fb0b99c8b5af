/* ggml's block formats to f32, exactly as ggml's reference does (ggml-quants.c, and the Python
   package gguf, quants.py).

   A block holds 32 values (the k-quants 256) as small integers q under shared scales, which are f16;
   the first halves of bytes come before the second halves:

       Q8_0   d q         q in [-128, 127]
       Q4_0   d (q - 8)   4 bits               Q4_1   d q + m
       Q5_0   d (q - 16)  4 bits and 1 apart   Q5_1   d q + m
       Q4_K   (d s) q - (dmin m)   4 bits; s and m of 6 bits for each 32 values
       Q6_K   (d s) (q - 32)       4 bits and 2 apart; s of 8 bits for each 16 values

   `blocks` may lie at any byte. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Writes the values of n_blocks blocks to out [n_blocks * 32]. */
void sp_dequantize_q8_0(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);
void sp_dequantize_q4_0(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);
void sp_dequantize_q4_1(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);
void sp_dequantize_q5_0(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);
void sp_dequantize_q5_1(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);

/* Writes the values of n_blocks blocks to out [n_blocks * 256]. */
void sp_dequantize_q4_k(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);
void sp_dequantize_q6_k(float *restrict out, const uint8_t *restrict blocks, size_t n_blocks);
