#include "model/layer_block.h"

#include "tensor/vector.h"

#include <stdlib.h>
#include <string.h>

typedef struct layer_block {
    sp_block block;
    const sp_layer *layer;
    sp_side side;
} layer_block;

/* What forward leaves for backward; norms' and the activation's outputs are made again. */
typedef struct kept_rows {
    float *stats_attention, *stats_ffn; /* [SP_NORM_STATS, n_rows] */
    sp_layer_qkv qkv;                   /* rotated */
    float *o, *lse;                     /* [n_rows, q width], [n_rows, n_heads] */
    float *middle;                      /* [n_rows, d_model]: x2 */
    sp_layer_gate_up gate_up;
    float *inner[SP_N_ROLES]; /* of the adapters */
} kept_rows;

static size_t matrix_bytes(size_t n_rows, size_t width) {
    return sp_arena_bytes(n_rows * width * sizeof(float));
}

static float *push_matrix(sp_arena *arena, size_t n_rows, size_t width) {
    return sp_arena_push(arena, n_rows * width * sizeof(float));
}

static size_t kept_bytes(const sp_layer *layer, size_t n_rows) {
    const sp_model_config *c = layer->config;
    size_t n_bytes = 2 * matrix_bytes(n_rows, SP_NORM_STATS) + sp_layer_qkv_bytes(layer, n_rows) +
                     matrix_bytes(n_rows, sp_q_width(c)) + matrix_bytes(n_rows, c->n_heads) +
                     matrix_bytes(n_rows, c->d_model) + sp_layer_gate_up_bytes(layer, n_rows);
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        n_bytes += sp_adapted_linear_inner_bytes(&layer->linears[role], n_rows);
    return n_bytes;
}

/* The kept rows in their kept_bytes() at `base`. */
static kept_rows kept_rows_at(char *base, const sp_layer *layer, size_t n_rows) {
    const sp_model_config *c = layer->config;
    sp_arena arena = {.base = base, .capacity = kept_bytes(layer, n_rows)};
    kept_rows kept;
    kept.stats_attention = push_matrix(&arena, n_rows, SP_NORM_STATS);
    kept.stats_ffn = push_matrix(&arena, n_rows, SP_NORM_STATS);
    kept.qkv = sp_layer_push_qkv(layer, &arena, n_rows);
    kept.o = push_matrix(&arena, n_rows, sp_q_width(c));
    kept.lse = push_matrix(&arena, n_rows, c->n_heads);
    kept.middle = push_matrix(&arena, n_rows, c->d_model);
    kept.gate_up = sp_layer_push_gate_up(layer, &arena, n_rows);
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        kept.inner[role] =
            sp_arena_push(&arena, sp_adapted_linear_inner_bytes(&layer->linears[role], n_rows));
    return kept;
}

static const sp_rows *rows_of(const layer_block *self, const sp_batch *batch) {
    return &batch->rows[self->side];
}

static size_t n_rows_of(const sp_block *block, const sp_batch *batch) {
    return rows_of((const layer_block *)block, batch)->n_rows;
}

/* Keys that rows 0 .. n - 1 of one sequence see. */
static double keys_seen(size_t n, size_t window) {
    const size_t growing = window == 0 || n < window ? n : window; /* rows that see all before */
    return (double)growing * (double)(growing + 1) / 2 + (double)(n - growing) * (double)window;
}

/* Pairs of a row and a key that it sees. */
static double visible_pairs(const sp_rows *rows, size_t window) {
    double pairs = 0;
    for (size_t s = 0; s < rows->n_seqs; s++) {
        const sp_attention_seq *seq = &rows->seqs[s];
        const size_t before = seq->parent >= 0 ? rows->seqs[seq->parent].len : 0;
        pairs += keys_seen(before + seq->len, window) - keys_seen(before, window);
    }
    return pairs;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const layer_block *self = (const layer_block *)block;
    const sp_layer *layer = self->layer;
    const sp_model_config *c = layer->config;
    const sp_rows *rows = rows_of(self, batch);
    const size_t n = rows->n_rows;
    sp_cost total = {.bytes_kept = kept_bytes(layer, n)};
    size_t linear_scratch = 0;
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        if (!sp_layer_has(layer, role)) continue;
        const sp_cost one = sp_adapted_linear_cost(&layer->linears[role], n);
        total.flop_forward += one.flop_forward;
        total.flop_backward += one.flop_backward;
        if (one.bytes_scratch > linear_scratch) linear_scratch = one.bytes_scratch;
    }
    const double attention = 4 * visible_pairs(rows, layer->window) * (double)sp_q_width(c);
    total.flop_forward += attention;
    total.flop_backward += 2 * attention;

    /* Backward's two phases, feed-forward and attention; forward takes less than either. */
    const sp_attention_shape shape = sp_layer_attention_shape(layer);
    const size_t ffn = 2 * matrix_bytes(n, c->d_ffn) + 2 * matrix_bytes(n, c->d_model);
    const size_t attend = 2 * matrix_bytes(n, c->d_model) + matrix_bytes(n, sp_q_width(c)) +
                          sp_layer_qkv_bytes(layer, n) +
                          sp_arena_bytes(sp_attention_scratch_bytes(&shape));
    total.bytes_scratch = (ffn > attend ? ffn : attend) + linear_scratch;
    return total;
}

/* A matrix and where its output goes. */
typedef struct writer {
    sp_role role;
    float *y;
} writer;

/* Runs those of the writers, at most three, that the layer has, over the same x. */
static void project(const sp_layer *layer, const writer *writers, size_t n_writers,
                    const kept_rows *kept, const float *x, const sp_batch *batch,
                    const sp_rows *rows, sp_arena *scratch) {
    sp_adapted_output outputs[3];
    size_t n = 0;
    for (size_t i = 0; i < n_writers; i++) {
        const sp_role role = writers[i].role;
        if (sp_layer_has(layer, role))
            outputs[n++] =
                (sp_adapted_output){&layer->linears[role], writers[i].y, kept->inner[role]};
    }
    sp_adapted_linear_forward_all(outputs, n, x, rows->n_rows, batch->is_training ? rows : NULL,
                                  scratch);
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x,
                    char *kept_base, sp_arena *scratch) {
    const layer_block *self = (const layer_block *)block;
    const sp_layer *layer = self->layer;
    const sp_model_config *c = layer->config;
    const sp_rows *rows = rows_of(self, batch);
    const size_t n = rows->n_rows;
    const kept_rows kept = kept_rows_at(kept_base, layer, n);

    float *normed = push_matrix(scratch, n, c->d_model);
    sp_norm_forward(&layer->attention_norm, c, normed, kept.stats_attention, x, n);
    const writer qkv[] = {
        {SP_ROLE_Q, kept.qkv.q}, {SP_ROLE_K, kept.qkv.k}, {SP_ROLE_V, kept.qkv.v}};
    project(layer, qkv, 3, &kept, normed, batch, rows, scratch);
    sp_layer_rotate(layer, &kept.qkv, rows->rope_rows, n, false);

    const sp_attention_shape shape = sp_layer_attention_shape(layer);
    const size_t before_attention = scratch->used;
    void *room = sp_arena_push(scratch, sp_attention_scratch_bytes(&shape));
    const sp_attention_inputs in = {kept.qkv.q, kept.qkv.k, kept.qkv.v, kept.qkv.ld_q,
                                    kept.qkv.ld_kv};
    sp_attention_forward(&shape, rows->seqs, rows->n_seqs, kept.o, kept.lse, &in, room);
    scratch->used = before_attention;

    project(layer, &(writer){SP_ROLE_O, kept.middle}, 1, &kept, kept.o, batch, rows, scratch);
    sp_vector_add(kept.middle, x, n * c->d_model);
    sp_norm_forward(&layer->ffn_norm, c, normed, kept.stats_ffn, kept.middle, n);
    const writer gate_up[] = {{SP_ROLE_GATE, kept.gate_up.gate}, {SP_ROLE_UP, kept.gate_up.up}};
    project(layer, gate_up, 2, &kept, normed, batch, rows, scratch);
    float *h = push_matrix(scratch, n, c->d_ffn);
    sp_layer_activate(layer, h, &kept.gate_up, n);
    project(layer, &(writer){SP_ROLE_DOWN, y}, 1, &kept, h, batch, rows, scratch);
    sp_vector_add(y, kept.middle, n * c->d_model);
}

static void unproject(const sp_layer *layer, sp_role role, float *dx, float beta, const float *dy,
                      const kept_rows *kept, const float *x, const sp_batch *batch,
                      const sp_rows *rows, sp_arena *scratch) {
    sp_adapted_linear_backward(&layer->linears[role], dx, beta, dy, x, kept->inner[role],
                               rows->n_rows, batch->is_training ? rows : NULL, scratch);
}

/* A matrix that reads a norm's output, and dL/d(what it wrote). */
typedef struct reader {
    sp_role role;
    const float *dy;
} reader;

/* Adds to dx what comes back through a norm from those of its readers that the layer has; x is what
   the norm read. Its output is made once more if one of them trains. */
static void readers_backward(const sp_layer *layer, const sp_batch *batch, const sp_rows *rows,
                             float *dx, const reader *readers, size_t n_readers,
                             const sp_norm *norm, const float *x, float *stats,
                             const kept_rows *kept, sp_arena *scratch) {
    const sp_model_config *c = layer->config;
    const size_t n = rows->n_rows;
    float *dnormed = push_matrix(scratch, n, c->d_model);
    float *normed = push_matrix(scratch, n, c->d_model);
    bool is_read = false;
    for (size_t i = 0; i < n_readers; i++)
        is_read = is_read || sp_adapted_linear_reads_input(&layer->linears[readers[i].role]);
    if (is_read) sp_norm_forward(norm, c, normed, stats, x, n);
    float beta = 0;
    for (size_t i = 0; i < n_readers; i++) {
        if (!sp_layer_has(layer, readers[i].role)) continue;
        unproject(layer, readers[i].role, dnormed, beta, readers[i].dy, kept,
                  is_read ? normed : NULL, batch, rows, scratch);
        beta = 1;
    }
    sp_norm_backward(norm, c, dx, 1, dnormed, x, stats, n);
}

/* Turns dy = dL/dy into dL/dmiddle, in place. */
static void ffn_backward(const sp_layer *layer, const sp_batch *batch, const sp_rows *rows,
                         float *dy, const kept_rows *kept, sp_arena *scratch) {
    const size_t n = rows->n_rows, d_ffn = layer->config->d_ffn, used = scratch->used;
    float *dh = push_matrix(scratch, n, d_ffn);
    const float *h = NULL;
    if (sp_adapted_linear_reads_input(&layer->linears[SP_ROLE_DOWN])) {
        float *again = push_matrix(scratch, n, d_ffn);
        sp_layer_activate(layer, again, &kept->gate_up, n);
        h = again;
    }
    unproject(layer, SP_ROLE_DOWN, dh, 0, dy, kept, h, batch, rows, scratch);
    /* gate and up give their places to their gradients */
    sp_layer_activate_backward(layer, &kept->gate_up, dh, n);
    const reader readers[] = {{SP_ROLE_GATE, kept->gate_up.gate}, {SP_ROLE_UP, kept->gate_up.up}};
    readers_backward(layer, batch, rows, dy, readers, 2, &layer->ffn_norm, kept->middle,
                     kept->stats_ffn, kept, scratch);
    scratch->used = used;
}

/* Writes dx, given dmiddle = dL/dmiddle. */
static void attention_backward(const sp_layer *layer, const sp_batch *batch, const sp_rows *rows,
                               float *dx, const float *dmiddle, const float *x,
                               const kept_rows *kept, sp_arena *scratch) {
    const sp_model_config *c = layer->config;
    const size_t n = rows->n_rows;
    float *d_o = push_matrix(scratch, n, sp_q_width(c));
    const sp_layer_qkv dqkv = sp_layer_push_qkv(layer, scratch, n);
    unproject(layer, SP_ROLE_O, d_o, 0, dmiddle, kept, kept->o, batch, rows, scratch);

    const sp_attention_shape shape = sp_layer_attention_shape(layer);
    const size_t before_attention = scratch->used;
    void *room = sp_arena_push(scratch, sp_attention_scratch_bytes(&shape));
    const sp_attention_inputs in = {kept->qkv.q, kept->qkv.k, kept->qkv.v, kept->qkv.ld_q,
                                    kept->qkv.ld_kv};
    const sp_attention_gradients out = {dqkv.q, dqkv.k, dqkv.v, dqkv.ld_q, dqkv.ld_kv};
    sp_attention_backward(&shape, rows->seqs, rows->n_seqs, &out, d_o, kept->o, kept->lse, &in,
                          room);
    scratch->used = before_attention;
    sp_layer_rotate(layer, &dqkv, rows->rope_rows, n, true);

    memcpy(dx, dmiddle, n * c->d_model * sizeof *dx);
    const reader readers[] = {{SP_ROLE_Q, dqkv.q}, {SP_ROLE_K, dqkv.k}, {SP_ROLE_V, dqkv.v}};
    readers_backward(layer, batch, rows, dx, readers, 3, &layer->attention_norm, x,
                     kept->stats_attention, kept, scratch);
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept_base, sp_arena *scratch) {
    const layer_block *self = (const layer_block *)block;
    const sp_rows *rows = rows_of(self, batch);
    const kept_rows kept = kept_rows_at(kept_base, self->layer, rows->n_rows);
    ffn_backward(self->layer, batch, rows, dy, &kept, scratch);
    attention_backward(self->layer, batch, rows, dx, dy, x, &kept, scratch);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "layer",
                                   .n_in_rows = n_rows_of,
                                   .n_out_rows = n_rows_of,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy,
                                   .can_recompute = true};

sp_status sp_layer_block_create(sp_block **block, const sp_layer *layer, sp_side side) {
    layer_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a layer");
    const size_t d = layer->config->d_model;
    *self = (layer_block){.block = {&kind, d, d}, .layer = layer, .side = side};
    *block = &self->block;
    return SP_OK;
}
