/* A linear layer, y = x weight^T + bias, that hides how its weight is stored and multiplied.

   weight [n_out, n_in], bias [n_out]; x [n_rows, n_in], y [n_rows, n_out]; all row-major f32
   without padding, save the weight, which is stored as its precision says:
     f32   the mapped file in place if it holds plain F32 [n_out, n_in], else a converted copy;
     bf16  the mapped file in place if it holds plain BF16 so, else a converted copy. Products are of
           bf16 values with f32 sums: by oneDNN where the CPU has bf16 instructions; elsewhere, and
           for few rows, x stays f32 and the weight is expanded to f32, in panels or in registers;
     int8  a copy in s8 with a scale for each output (tensor/quantize.h), from any type. Forward, where
           the CPU has VNNI, rows of x are quantised to u8 as they come. Without it products of bytes
           saturate (with weights of 7 bits they would not, but SmolLM2-135M's perplexity then rises by
           1.1 %): few rows become s16, and for many x stays f32 and the weight is expanded to f32 in
           panels, as it is backward to the input; gradients are those of the quantised weight. Sums
           of integers are exact in s32.
   Few rows of f32 are multiplied by tensor/few_rows.h, as those of the others are; backward those of
   bf16 and int8 by tensor/few_rows_back.h.
   Which kernel runs follows from precision, CPU and shape, never from a timing.

   A layer never changes after its creation: any number of users may share one. n_rows may be 0.
   Outputs overlap no inputs. Runs on all OpenMP threads; the same call on as many threads gives the
   same bits. `scratch` is 64-byte aligned and of sp_linear_scratch_bytes(); NULL serves for 0. */
#pragma once

#include "base/status.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum sp_precision {
    SP_PRECISION_F32,
    SP_PRECISION_BF16,
    SP_PRECISION_INT8,
    SP_N_PRECISIONS
} sp_precision;

/* "f32", "bf16", "int8". */
extern const char *const sp_precision_names[SP_N_PRECISIONS];

/* Whether this machine multiplies bf16 faster than f32; where not, bf16 saves memory only. */
bool sp_linear_computes_bf16(void);

typedef struct sp_linear sp_linear;

/* Makes a layer of frozen weights into *linear, owned: release with sp_linear_destroy(). weight is
   a matrix [n_out, n_in]; bias is [n_out], or NULL for none. The tensors' bytes are borrowed until
   then and stay as they are. SP_BAD_DATA: shapes that do not fit, or in int8 rows of more than 66,311
   values, whose sums could leave s32; SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_linear_create(sp_linear **linear, const sp_tensor *weight,
                                        const sp_tensor *bias, sp_precision precision);

/* Makes a layer over f32 weights of the caller, read anew by each call (a trained master): weight
   [n_out, n_in] and bias [n_out] or NULL, borrowed until sp_linear_destroy(). SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_linear_wrap(sp_linear **linear, const float *weight, const float *bias,
                                      size_t n_out, size_t n_in);

/* Makes a layer that knows its shape and kernel but has no weights, for costs: nothing can be
   multiplied by it. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_linear_outline(sp_linear **linear, size_t n_out, size_t n_in,
                                         sp_precision precision);

/* Bytes that sp_linear_create() copies of this weight; 0: it is used in place. A weight without data
   counts as aligned. */
size_t sp_linear_copied_bytes(const sp_tensor *weight, sp_precision precision);

void sp_linear_destroy(sp_linear *linear); /* NULL is allowed */

size_t sp_linear_n_in(const sp_linear *linear);
size_t sp_linear_n_out(const sp_linear *linear);
size_t sp_linear_owned_bytes(const sp_linear *linear);      /* memory beside the mapped file */
const char *sp_linear_kernel_name(const sp_linear *linear); /* for logs; static */

/* Bytes of scratch that forward and backward_input want for so many rows. Never falls as n_rows
   grows. */
size_t sp_linear_scratch_bytes(const sp_linear *linear, size_t n_rows);

/* Writes y [n_rows, n_out]. */
void sp_linear_forward(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                       void *scratch);

/* The same, with scratch as the forward pass of layer `before` over the same rows left it: what both
   convert alike, to bf16 or 8 bits, is not converted again. */
void sp_linear_forward_after(const sp_linear *linear, const sp_linear *before, float *y,
                             const float *x, size_t n_rows, void *scratch);

/* dx = dy weight + beta dx, with beta 0 (writes) or 1 (adds to) dx [n_rows, n_in], given
   dy [n_rows, n_out]. */
void sp_linear_backward_input(const sp_linear *linear, float *dx, float beta, const float *dy,
                              size_t n_rows, void *scratch);

/* Adds to dweight [n_out, n_in] and, unless NULL, to dbias [n_out]:
       dweight += dy^T x      dbias += sum_r dy[r]  (f64 within the call) */
void sp_linear_backward_weight(float *dweight, float *dbias, const float *dy, const float *x,
                               size_t n_rows, size_t n_out, size_t n_in);

/* Writes weight row `row` as f32 to out [n_in]: a tied table's look-up. One thread. */
void sp_linear_read_row(const sp_linear *linear, float *out, size_t row);
