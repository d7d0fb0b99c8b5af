#include "model/layer_block.h"

#include "tensor/swiglu.h"
#include "tensor/vector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct layer_block {
    sp_block block;
    const sp_layer *layer;
    sp_side side;
} layer_block;

/* What forward leaves for backward; norms' and the activation's outputs are made again. */
typedef struct kept_rows {
    float *rstd_attention, *rstd_ffn; /* [n_rows] */
    float *q, *k, *v;                 /* [n_rows, width], rotated */
    float *o, *lse;                   /* [n_rows, q width], [n_rows, n_heads] */
    float *middle;                    /* [n_rows, d_model]: x2 */
    float *gate, *up;                 /* [n_rows, d_ffn] */
    float *inner[SP_N_ROLES];         /* of the adapters */
} kept_rows;

sp_attention_shape sp_attention_shape_of(const sp_model_config *config) {
    return (sp_attention_shape){.n_heads = config->n_heads,
                                .n_kv_heads = config->n_kv_heads,
                                .head_dim = config->head_dim,
                                .scale = 1 / sqrtf((float)config->head_dim)};
}

static size_t matrix_bytes(size_t n_rows, size_t width) {
    return sp_arena_bytes(n_rows * width * sizeof(float));
}

static float *push_matrix(sp_arena *arena, size_t n_rows, size_t width) {
    return sp_arena_push(arena, n_rows * width * sizeof(float));
}

/* Lays the kept rows out at `base`; with base NULL the arena only counts bytes. */
static size_t lay_out(kept_rows *kept, char *base, const sp_layer *layer, size_t n_rows) {
    const sp_model_config *c = layer->config;
    const struct {
        float **place;
        size_t width;
    } parts[] = {
        {&kept->rstd_attention, 1}, {&kept->rstd_ffn, 1},        {&kept->q, sp_q_width(c)},
        {&kept->k, sp_kv_width(c)}, {&kept->v, sp_kv_width(c)},  {&kept->o, sp_q_width(c)},
        {&kept->lse, c->n_heads},   {&kept->middle, c->d_model}, {&kept->gate, c->d_ffn},
        {&kept->up, c->d_ffn},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (base != NULL) *parts[i].place = (float *)(void *)(base + used);
        used += matrix_bytes(n_rows, parts[i].width);
    }
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        if (base != NULL) kept->inner[role] = (float *)(void *)(base + used);
        used += sp_adapted_linear_inner_bytes(&layer->linears[role], n_rows);
    }
    return used;
}

static const sp_rows *rows_of(const layer_block *self, const sp_batch *batch) {
    return &batch->rows[self->side];
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    return rows_of((const layer_block *)block, batch)->n_rows;
}

/* Pairs of a row and a key that it sees. */
static double visible_pairs(const sp_rows *rows) {
    double pairs = 0;
    for (size_t s = 0; s < rows->n_seqs; s++) {
        const sp_attention_seq *seq = &rows->seqs[s];
        const double len = (double)seq->len;
        const double before = seq->parent >= 0 ? (double)rows->seqs[seq->parent].len : 0;
        pairs += len * before + len * (len + 1) / 2;
    }
    return pairs;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const layer_block *self = (const layer_block *)block;
    const sp_layer *layer = self->layer;
    const sp_model_config *c = layer->config;
    const sp_rows *rows = rows_of(self, batch);
    const size_t n = rows->n_rows;
    kept_rows unused;
    sp_cost total = {.bytes_kept = lay_out(&unused, NULL, layer, n)};
    size_t linear_scratch = 0;
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        const sp_cost one = sp_adapted_linear_cost(&layer->linears[role], n);
        total.flop_forward += one.flop_forward;
        total.flop_backward += one.flop_backward;
        if (one.bytes_scratch > linear_scratch) linear_scratch = one.bytes_scratch;
    }
    const double attention = 4 * visible_pairs(rows) * (double)sp_q_width(c);
    total.flop_forward += attention;
    total.flop_backward += 2 * attention;

    /* Backward's two phases, feed-forward and attention; forward takes less than either. */
    const sp_attention_shape shape = sp_attention_shape_of(c);
    const size_t ffn = 2 * matrix_bytes(n, c->d_ffn) + 2 * matrix_bytes(n, c->d_model);
    const size_t attend = 2 * matrix_bytes(n, c->d_model) + 2 * matrix_bytes(n, sp_q_width(c)) +
                          2 * matrix_bytes(n, sp_kv_width(c)) +
                          sp_arena_bytes(sp_attention_scratch_bytes(&shape));
    total.bytes_scratch = (ffn > attend ? ffn : attend) + linear_scratch;
    return total;
}

static void project(const sp_layer *layer, sp_role role, float *y, const kept_rows *kept,
                    const float *x, const sp_batch *batch, const sp_rows *rows, sp_arena *scratch) {
    sp_adapted_linear_forward(&layer->linears[role], y, kept->inner[role], x, rows->n_rows,
                              batch->is_training ? rows : NULL, scratch);
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x,
                    char *kept_base, sp_arena *scratch) {
    const layer_block *self = (const layer_block *)block;
    const sp_layer *layer = self->layer;
    const sp_model_config *c = layer->config;
    const sp_rows *rows = rows_of(self, batch);
    const size_t n = rows->n_rows;
    kept_rows kept;
    lay_out(&kept, kept_base, layer, n);

    float *normed = push_matrix(scratch, n, c->d_model);
    const sp_rmsnorm attention_norm = sp_norm_make(&layer->attention_norm, c);
    sp_rmsnorm_forward(&attention_norm, normed, kept.rstd_attention, x, n);
    project(layer, SP_ROLE_Q, kept.q, &kept, normed, batch, rows, scratch);
    project(layer, SP_ROLE_K, kept.k, &kept, normed, batch, rows, scratch);
    project(layer, SP_ROLE_V, kept.v, &kept, normed, batch, rows, scratch);
    sp_rope_forward(layer->rope, kept.q, sp_q_width(c), rows->positions, n, c->n_heads);
    sp_rope_forward(layer->rope, kept.k, sp_kv_width(c), rows->positions, n, c->n_kv_heads);

    const sp_attention_shape shape = sp_attention_shape_of(c);
    const size_t before_attention = scratch->used;
    void *room = sp_arena_push(scratch, sp_attention_scratch_bytes(&shape));
    const sp_attention_inputs in = {kept.q, kept.k, kept.v, sp_q_width(c), sp_kv_width(c)};
    sp_attention_forward(&shape, rows->seqs, rows->n_seqs, kept.o, kept.lse, &in, room);
    scratch->used = before_attention;

    project(layer, SP_ROLE_O, kept.middle, &kept, kept.o, batch, rows, scratch);
    sp_vector_add(kept.middle, x, n * c->d_model);
    const sp_rmsnorm ffn_norm = sp_norm_make(&layer->ffn_norm, c);
    sp_rmsnorm_forward(&ffn_norm, normed, kept.rstd_ffn, kept.middle, n);
    project(layer, SP_ROLE_GATE, kept.gate, &kept, normed, batch, rows, scratch);
    project(layer, SP_ROLE_UP, kept.up, &kept, normed, batch, rows, scratch);
    float *h = push_matrix(scratch, n, c->d_ffn);
    sp_swiglu_forward(h, kept.gate, kept.up, n * c->d_ffn);
    project(layer, SP_ROLE_DOWN, y, &kept, h, batch, rows, scratch);
    sp_vector_add(y, kept.middle, n * c->d_model);
}

static void unproject(const sp_layer *layer, sp_role role, float *dx, float beta, const float *dy,
                      const kept_rows *kept, const float *x, const sp_batch *batch,
                      const sp_rows *rows, sp_arena *scratch) {
    sp_adapted_linear_backward(&layer->linears[role], dx, beta, dy, x, kept->inner[role],
                               rows->n_rows, batch->is_training ? rows : NULL, scratch);
}

/* The norm's output once more, if one of the roles that read it trains; else NULL. */
static const float *normed_again(const sp_layer *layer, const sp_norm *which, const sp_role *roles,
                                 size_t n_roles, float *normed, float *rstd, const float *x,
                                 size_t n_rows) {
    bool is_read = false;
    for (size_t i = 0; i < n_roles; i++)
        is_read = is_read || sp_adapted_linear_reads_input(&layer->linears[roles[i]]);
    if (!is_read) return NULL;
    const sp_rmsnorm norm = sp_norm_make(which, layer->config);
    sp_rmsnorm_forward(&norm, normed, rstd, x, n_rows);
    return normed;
}

/* Turns dy = dL/dy into dL/dmiddle, in place. */
static void ffn_backward(const sp_layer *layer, const sp_batch *batch, const sp_rows *rows,
                         float *dy, const kept_rows *kept, sp_arena *scratch) {
    static const sp_role readers[] = {SP_ROLE_GATE, SP_ROLE_UP};
    const sp_model_config *c = layer->config;
    const size_t n = rows->n_rows, used = scratch->used;
    float *dh = push_matrix(scratch, n, c->d_ffn);
    const float *h = NULL;
    if (sp_adapted_linear_reads_input(&layer->linears[SP_ROLE_DOWN])) {
        float *again = push_matrix(scratch, n, c->d_ffn);
        sp_swiglu_forward(again, kept->gate, kept->up, n * c->d_ffn);
        h = again;
    }
    unproject(layer, SP_ROLE_DOWN, dh, 0, dy, kept, h, batch, rows, scratch);
    /* gate and up give their places to their gradients */
    sp_swiglu_backward(kept->gate, kept->up, NULL, dh, kept->gate, kept->up, n * c->d_ffn);

    float *dnormed = push_matrix(scratch, n, c->d_model);
    float *normed = push_matrix(scratch, n, c->d_model);
    const float *in =
        normed_again(layer, &layer->ffn_norm, readers, 2, normed, kept->rstd_ffn, kept->middle, n);
    unproject(layer, SP_ROLE_GATE, dnormed, 0, kept->gate, kept, in, batch, rows, scratch);
    unproject(layer, SP_ROLE_UP, dnormed, 1, kept->up, kept, in, batch, rows, scratch);
    const sp_rmsnorm norm = sp_norm_make(&layer->ffn_norm, c);
    sp_rmsnorm_backward(&norm, dy, 1, sp_norm_grad(&layer->ffn_norm), dnormed, kept->middle,
                        kept->rstd_ffn, n);
    scratch->used = used;
}

/* Writes dx, given dmiddle = dL/dmiddle. */
static void attention_backward(const sp_layer *layer, const sp_batch *batch, const sp_rows *rows,
                               float *dx, const float *dmiddle, const float *x,
                               const kept_rows *kept, sp_arena *scratch) {
    static const sp_role readers[] = {SP_ROLE_Q, SP_ROLE_K, SP_ROLE_V};
    const sp_model_config *c = layer->config;
    const size_t n = rows->n_rows;
    const size_t q_width = sp_q_width(c), kv_width = sp_kv_width(c);
    float *d_o = push_matrix(scratch, n, q_width), *dq = push_matrix(scratch, n, q_width);
    float *dk = push_matrix(scratch, n, kv_width), *dv = push_matrix(scratch, n, kv_width);
    unproject(layer, SP_ROLE_O, d_o, 0, dmiddle, kept, kept->o, batch, rows, scratch);

    const sp_attention_shape shape = sp_attention_shape_of(c);
    const size_t before_attention = scratch->used;
    void *room = sp_arena_push(scratch, sp_attention_scratch_bytes(&shape));
    const sp_attention_inputs in = {kept->q, kept->k, kept->v, q_width, kv_width};
    const sp_attention_gradients out = {dq, dk, dv, q_width, kv_width};
    sp_attention_backward(&shape, rows->seqs, rows->n_seqs, &out, d_o, kept->o, kept->lse, &in,
                          room);
    scratch->used = before_attention;
    sp_rope_backward(layer->rope, dq, q_width, rows->positions, n, c->n_heads);
    sp_rope_backward(layer->rope, dk, kv_width, rows->positions, n, c->n_kv_heads);

    float *dnormed = push_matrix(scratch, n, c->d_model);
    float *normed = push_matrix(scratch, n, c->d_model);
    const float *read =
        normed_again(layer, &layer->attention_norm, readers, 3, normed, kept->rstd_attention, x, n);
    unproject(layer, SP_ROLE_Q, dnormed, 0, dq, kept, read, batch, rows, scratch);
    unproject(layer, SP_ROLE_K, dnormed, 1, dk, kept, read, batch, rows, scratch);
    unproject(layer, SP_ROLE_V, dnormed, 1, dv, kept, read, batch, rows, scratch);
    memcpy(dx, dmiddle, n * c->d_model * sizeof *dx);
    const sp_rmsnorm norm = sp_norm_make(&layer->attention_norm, c);
    sp_rmsnorm_backward(&norm, dx, 1, sp_norm_grad(&layer->attention_norm), dnormed, x,
                        kept->rstd_attention, n);
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept_base, sp_arena *scratch) {
    const layer_block *self = (const layer_block *)block;
    const sp_rows *rows = rows_of(self, batch);
    kept_rows kept;
    lay_out(&kept, kept_base, self->layer, rows->n_rows);
    ffn_backward(self->layer, batch, rows, dy, &kept, scratch);
    attention_backward(self->layer, batch, rows, dx, dy, x, &kept, scratch);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "layer",
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_layer_block_create(sp_block **block, const sp_layer *layer, sp_side side) {
    layer_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a layer");
    const size_t d = layer->config->d_model;
    *self = (layer_block){.block = {&kind, d, d}, .layer = layer, .side = side};
    *block = &self->block;
    return SP_OK;
}
