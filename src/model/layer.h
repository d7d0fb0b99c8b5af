/* One transformer layer, pre-norm; which norm, positions, matrices and activation, its family says
   (model/family.h):

       x2 = x  + o(attention(rope(q(norm1(x))), rope(k(norm1(x))), v(norm1(x))))
       y  = x2 + down(silu(gate(norm2(x2))) * up(norm2(x2)))      gated
       y  = x2 + down(gelu_tanh(up(norm2(x2))))                   else

   Matrices that a family fuses stand at the first of their roles. What one matrix writes lies side by
   side, so q, k and v are columns of one wide buffer or three of their own; likewise gate and up.
   Here: what a layer is, and its steps; layer_block.c trains it, kv_cache.c runs it a few rows at a
   time. */
#pragma once

#include "model/adapted_linear.h"
#include "model/model_config.h"
#include "model/norm.h"
#include "tensor/attention.h"
#include "tensor/rope.h"

typedef struct sp_layer {
    const sp_model_config *config; /* borrowed, like rope */
    const sp_rope *rope;
    size_t window;                         /* tokens that a row sees; 0: all */
    sp_adapted_linear linears[SP_N_ROLES]; /* n_out 0: no matrix stands here */
    sp_norm attention_norm, ffn_norm;
} sp_layer;

sp_attention_shape sp_layer_attention_shape(const sp_layer *layer);

/* Does the layer have a matrix of its own for this role? */
static inline bool sp_layer_has(const sp_layer *layer, sp_role role) {
    return layer->linears[role].n_out > 0;
}

/* Rows of q, k and v, of a layer's values or their gradients. */
typedef struct sp_layer_qkv {
    float *q, *k, *v;
    size_t ld_q, ld_kv; /* values from row to row */
} sp_layer_qkv;

/* Rows of gate and up; gate is NULL where there is none. */
typedef struct sp_layer_gate_up {
    float *gate, *up;
    size_t ld;
} sp_layer_gate_up;

/* Pushes room for n_rows of them onto an arena. */
sp_layer_qkv sp_layer_push_qkv(const sp_layer *layer, sp_arena *arena, size_t n_rows);
sp_layer_gate_up sp_layer_push_gate_up(const sp_layer *layer, sp_arena *arena, size_t n_rows);
size_t sp_layer_qkv_bytes(const sp_layer *layer, size_t n_rows);
size_t sp_layer_gate_up_bytes(const sp_layer *layer, size_t n_rows);

/* Turns q and k, or with is_backward their gradients back; nothing with learned positions. */
void sp_layer_rotate(const sp_layer *layer, const sp_layer_qkv *qkv, const uint32_t *rope_rows,
                     size_t n_rows, bool is_backward);

/* Writes h [n_rows, d_ffn], the activation; h may be gate or up where these are d_ffn wide. */
void sp_layer_activate(const sp_layer *layer, float *h, const sp_layer_gate_up *in, size_t n_rows);

/* Given dh [n_rows, d_ffn], puts dL/dgate and dL/dup into the places of gate and up. */
void sp_layer_activate_backward(const sp_layer *layer, const sp_layer_gate_up *in, const float *dh,
                                size_t n_rows);
