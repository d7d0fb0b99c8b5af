/* Matrix products by oneDNN: f32 and int8 as BLAS calls, and bf16 products with f32 sums as an object.

   Runs on all OpenMP threads, or on the calling one alone inside a parallel region. */
#pragma once

#include "base/status.h"
#include "tensor/gemm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of gemm.h's products by oneDNN, and whether it runs in AVX2 or wider vectors, as far as
   the library may use them: below that it is a plain loop or not much faster. */
sp_gemm_fn sp_dnnl_gemm;
bool sp_dnnl_computes_f32(void);

/* Whether products of u8 with s8 run in the CPU's VNNI instructions, as far as the library may use
   them. Where not, pairs of products may saturate in s16, and nothing is to be multiplied so. */
bool sp_dnnl_computes_int8(void);

/* Writes y [m, n] = x weight^T in s32, y's rows being ld_y apart, of x [m, k] in u8 and weight [n, k]
   in s8. All three are at least 1. */
void sp_dnnl_gemm_u8s8(int32_t *y, size_t ld_y, const uint8_t *x, const int8_t *weight, size_t m,
                       size_t n, size_t k);

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

/* Writes the library's names of the kernels that run forward, backward and adding backward; static. */
enum { SP_DNNL_N_PRODUCTS = 3 };
void sp_dnnl_matmul_kernel_names(const sp_dnnl_matmul *matmul,
                                 const char *names[SP_DNNL_N_PRODUCTS]);
