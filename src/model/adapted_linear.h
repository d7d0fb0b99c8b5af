/* A linear layer and what is trained in it: nothing, a low-rank adapter (LoRA, Hu et al. 2021,
   arXiv 2106.09685), or the whole weight.

       y = x W^T + bias + (lora_alpha / rank) dropout(x) A^T B^T      A [rank, n_in], B [n_out, rank]

   A parameter that is NULL is not there. Matrices are row-major f32 without padding; nothing here
   allocates or fails; scratch comes from an arena and is given back. */
#pragma once

#include "base/memory.h"
#include "chain/batch.h"
#include "chain/chain.h"
#include "chain/params.h"
#include "tensor/linear.h"

typedef struct sp_adapted_linear {
    size_t n_in, n_out;
    const sp_linear *frozen; /* W, borrowed; NULL where it is trained */
    sp_linear *trained;      /* the same over `weight`, owned; made by bind() */
    sp_param *weight, *bias;
    sp_param *lora_a, *lora_b;
    float lora_scale, lora_dropout;
    uint32_t module; /* tells dropout apart from that of other layers */
} sp_adapted_linear;

/* After sp_params_allocate(): makes the layer over a trained weight, if it has one. */
SP_NODISCARD sp_status sp_adapted_linear_bind(sp_adapted_linear *linear);
void sp_adapted_linear_release(sp_adapted_linear *linear);

/* FLOP, and bytes for n_rows. */
sp_cost sp_adapted_linear_cost(const sp_adapted_linear *linear, size_t n_rows);

/* Does backward() read x? Not where nothing is trained: x need not be made again then. */
bool sp_adapted_linear_reads_input(const sp_adapted_linear *linear);

/* Writes y [n_rows, n_out] and, for backward, the adapter's inner values to inner [n_rows, rank].
   `rows` are those of the batch's side, for dropout; NULL: no dropout. */
void sp_adapted_linear_forward(const sp_adapted_linear *linear, float *y, float *inner,
                               const float *x, size_t n_rows, const sp_rows *rows,
                               sp_arena *scratch);

/* A layer and where its y and inner values go. */
typedef struct sp_adapted_output {
    const sp_adapted_linear *linear;
    float *y, *inner;
} sp_adapted_output;

/* The same for n layers of one x, which is converted once for all that convert it alike. */
void sp_adapted_linear_forward_all(const sp_adapted_output *outputs, size_t n, const float *x,
                                   size_t n_rows, const sp_rows *rows, sp_arena *scratch);

/* Writes (beta 0) or adds to (beta 1) dx [n_rows, n_in], and adds to the parameters' gradients. x
   is forward's, or NULL where sp_adapted_linear_reads_input() is false. */
void sp_adapted_linear_backward(const sp_adapted_linear *linear, float *dx, float beta,
                                const float *dy, const float *x, const float *inner, size_t n_rows,
                                const sp_rows *rows, sp_arena *scratch);

/* Bytes of `inner` for n_rows, as an arena counts them; 0 without an adapter. */
size_t sp_adapted_linear_inner_bytes(const sp_adapted_linear *linear, size_t n_rows);
