#include "model/layer.h"

#include "tensor/gelu.h"
#include "tensor/swiglu.h"

#include <math.h>

sp_attention_shape sp_layer_attention_shape(const sp_layer *layer) {
    const sp_model_config *c = layer->config;
    return (sp_attention_shape){.n_heads = c->n_heads,
                                .n_kv_heads = c->n_kv_heads,
                                .head_dim = c->head_dim,
                                .scale = 1 / sqrtf((float)c->head_dim),
                                .window = layer->window};
}

static size_t matrix_bytes(size_t n_rows, size_t width) {
    return sp_arena_bytes(n_rows * width * sizeof(float));
}

static float *push(sp_arena *arena, size_t n_rows, size_t width) {
    return sp_arena_push(arena, n_rows * width * sizeof(float));
}

/* What the matrices at q, k and v, and at gate and up, write. */
static size_t width_of(const sp_layer *layer, sp_role role) { return layer->linears[role].n_out; }

size_t sp_layer_qkv_bytes(const sp_layer *layer, size_t n_rows) {
    return matrix_bytes(n_rows, width_of(layer, SP_ROLE_Q)) +
           matrix_bytes(n_rows, width_of(layer, SP_ROLE_K)) +
           matrix_bytes(n_rows, width_of(layer, SP_ROLE_V));
}

size_t sp_layer_gate_up_bytes(const sp_layer *layer, size_t n_rows) {
    return matrix_bytes(n_rows, width_of(layer, SP_ROLE_GATE)) +
           matrix_bytes(n_rows, width_of(layer, SP_ROLE_UP));
}

sp_layer_qkv sp_layer_push_qkv(const sp_layer *layer, sp_arena *arena, size_t n_rows) {
    const size_t ld_q = width_of(layer, SP_ROLE_Q), q_width = sp_q_width(layer->config);
    sp_layer_qkv qkv = {.q = push(arena, n_rows, ld_q), .ld_q = ld_q};
    if (sp_layer_has(layer, SP_ROLE_K)) {
        qkv.ld_kv = width_of(layer, SP_ROLE_K);
        qkv.k = push(arena, n_rows, qkv.ld_kv);
        qkv.v = push(arena, n_rows, qkv.ld_kv);
    } else {
        qkv.ld_kv = ld_q;
        qkv.k = qkv.q + q_width;
        qkv.v = qkv.k + sp_kv_width(layer->config);
    }
    return qkv;
}

sp_layer_gate_up sp_layer_push_gate_up(const sp_layer *layer, sp_arena *arena, size_t n_rows) {
    const size_t d_ffn = layer->config->d_ffn;
    sp_layer_gate_up places = {.ld = d_ffn};
    if (sp_layer_has(layer, SP_ROLE_GATE)) {
        places.ld = width_of(layer, SP_ROLE_GATE);
        places.gate = push(arena, n_rows, places.ld);
    }
    places.up = sp_layer_has(layer, SP_ROLE_UP) ? push(arena, n_rows, d_ffn) : places.gate + d_ffn;
    return places;
}

void sp_layer_rotate(const sp_layer *layer, const sp_layer_qkv *qkv, const uint32_t *rope_rows,
                     size_t n_rows, bool is_backward) {
    const sp_model_config *c = layer->config;
    if (c->family->has_learned_positions) return;
    void (*const rotate)(const sp_rope *, float *, size_t, const uint32_t *, size_t, size_t) =
        is_backward ? sp_rope_backward : sp_rope_forward;
    rotate(layer->rope, qkv->q, qkv->ld_q, rope_rows, n_rows, c->n_heads);
    rotate(layer->rope, qkv->k, qkv->ld_kv, rope_rows, n_rows, c->n_kv_heads);
}

void sp_layer_activate(const sp_layer *layer, float *h, const sp_layer_gate_up *in, size_t n_rows) {
    const size_t d_ffn = layer->config->d_ffn;
    if (in->gate != NULL)
        sp_swiglu_forward(h, in->gate, in->up, in->ld, n_rows, d_ffn);
    else
        sp_gelu_tanh_forward(h, in->up, n_rows * d_ffn);
}

void sp_layer_activate_backward(const sp_layer *layer, const sp_layer_gate_up *in, const float *dh,
                                size_t n_rows) {
    const size_t d_ffn = layer->config->d_ffn;
    if (in->gate != NULL)
        sp_swiglu_backward(in->gate, in->up, dh, in->gate, in->up, in->ld, n_rows, d_ffn);
    else
        sp_gelu_tanh_backward(in->up, dh, in->up, n_rows * d_ffn);
}
