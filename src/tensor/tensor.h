/* Tensors as files hold them: a typed, borrowed view of bytes that are usually a mapped file.

   Data lie row-major; the last dimension is contiguous and, for the block-quantised types of GGUF,
   a multiple of the block. Two marks say that a matrix lies otherwise (n_interleaved_heads,
   is_transposed; one at most): the shape is always that of the rows that are read, so only who uses
   `data` itself need heed them. Reading converts to f32. The types are those of safetensors (F32,
   F16, BF16) and of GGUF (ggml's block formats, by their ggml names). */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sp_dtype {
    SP_F32,
    SP_F16,
    SP_BF16,
    SP_Q8_0,
    SP_Q4_0,
    SP_Q4_1,
    SP_Q5_0,
    SP_Q5_1,
    SP_Q4_K,
    SP_Q6_K,
    SP_N_DTYPES
} sp_dtype;

typedef struct sp_dtype_info {
    const char *name;    /* "F32", "Q4_1", … */
    size_t block_values; /* values in one block; 1 for the plain types */
    size_t block_bytes;
} sp_dtype_info;
extern const sp_dtype_info sp_dtypes[SP_N_DTYPES];

enum { SP_MAX_DIMS = 4 };

typedef struct sp_tensor {
    sp_dtype dtype;
    size_t n_dims;
    size_t shape[SP_MAX_DIMS]; /* outermost first; [out, in] for a linear layer */
    const void *data;          /* borrowed from the file's mapping; a file may lay it at any byte */
    size_t n_interleaved_heads; /* GGUF stores Llama's q and k with each head's rows interleaved for
                                   rotation by adjacent pairs; > 0 asks the reader to put them back
                                   into halves. Row (h, j, i) is then stored row (h, i, j), with
                                   j in {0, 1} and i < head_dim / 2; so is value (h, j, i) of a
                                   bias, a vector of a plain type. */
    bool
        is_transposed; /* GPT-2's Conv1D: a matrix of shape [out, in] of a plain type that is stored
                           [in, out] */
} sp_tensor;

/* Values in all, and in one row (the last dimension; 1-D tensors are one row). */
size_t sp_tensor_n_values(const sp_tensor *tensor);
size_t sp_tensor_row_values(const sp_tensor *tensor);

/* Bytes of n_values values of a type; n_values is a multiple of the block. */
size_t sp_dtype_bytes(sp_dtype dtype, size_t n_values);

/* Writes rows [begin, begin + n_rows) as f32 to out [n_rows, row_values]. Spread over OpenMP threads
   when many. A transposed matrix is read fastest in many rows at once: one alone is scattered over
   the whole of it. */
void sp_tensor_read_rows(const sp_tensor *tensor, float *out, size_t begin, size_t n_rows);

/* Converts between f32 and the 16-bit types, round to nearest even; n may be 0. */
void sp_f32_to_bf16(uint16_t *restrict out, const float *restrict x, size_t n);
void sp_bf16_to_f32(float *restrict out, const uint16_t *restrict x, size_t n);
void sp_f32_to_f16(uint16_t *restrict out, const float *restrict x, size_t n);
void sp_f16_to_f32(float *restrict out, const uint16_t *restrict x, size_t n);
