/* Matrix products by oneDNN: f32 as a BLAS call, and bf16 products with f32 sums as an object.

   Runs on all OpenMP threads, or on the calling one alone inside a parallel region. */
#pragma once

#include "base/status.h"
#include "tensor/gemm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of gemm.h's products by oneDNN. */
sp_gemm_fn sp_dnnl_gemm;

/* Whether bf16 products run in the CPU's own bf16 instructions (AVX512-BF16, AMX), as far as the
   library may use them (ONEDNN_MAX_CPU_ISA). */
bool sp_dnnl_computes_bf16(void);

/* A bf16 weight [n_out, n_in] in one piece, used forward and backward through its strides: with
   many rows that costs at most 8 % against packed copies. */
typedef struct sp_dnnl_matmul sp_dnnl_matmul;

/* Makes one over `weight`, borrowed until sp_dnnl_matmul_destroy(), into *matmul, owned.
   SP_FAILURE: no memory, or the library has no bf16 product for this CPU. */
SP_NODISCARD sp_status sp_dnnl_matmul_create(sp_dnnl_matmul **matmul, const uint16_t *weight,
                                             size_t n_out, size_t n_in);
void sp_dnnl_matmul_destroy(sp_dnnl_matmul *matmul); /* NULL is allowed */

/* Writes y [n_rows, n_out] = x weight^T, from x [n_rows, n_in] in bf16. */
void sp_dnnl_matmul_forward(const sp_dnnl_matmul *matmul, float *y, const uint16_t *x,
                            size_t n_rows);

/* dx [n_rows, n_in] = dy weight + beta dx, from dy [n_rows, n_out] in bf16; beta is 0 or 1. */
void sp_dnnl_matmul_backward(const sp_dnnl_matmul *matmul, float *dx, float beta,
                             const uint16_t *dy, size_t n_rows);
