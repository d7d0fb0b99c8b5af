#include "model/kv_cache.h"

#include "base/memory.h"
#include "base/size.h"
#include "tensor/vector.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

sp_status sp_kv_cache_create(sp_kv_cache *cache, const sp_model_config *config, size_t n_seqs,
                             size_t capacity) {
    sp_kv_cache made = {.n_layers = config->n_layers,
                        .n_seqs = n_seqs,
                        .capacity = capacity,
                        .kv_width = sp_kv_width(config)};
    size_t n_rows = 0;
    void *k = NULL, *v = NULL, *lens = NULL, *is_long = NULL;
    if (!sp_size_mul(&n_rows, n_seqs, capacity) || !sp_size_mul(&n_rows, n_rows, made.n_layers))
        return sp_fail(SP_FAILURE, "a cache of %zu x %zu rows is too large", n_seqs, capacity);
    sp_status status = sp_alloc_array(&k, n_rows, made.kv_width * sizeof(float), "cached keys");
    made.k = k;
    if (status == SP_OK)
        status = sp_alloc_array(&v, n_rows, made.kv_width * sizeof(float), "cached values");
    made.v = v;
    if (status == SP_OK) status = sp_alloc_array(&lens, n_seqs, sizeof *made.lens, "a cache");
    made.lens = lens;
    if (status == SP_OK) status = sp_alloc_array(&is_long, n_seqs, sizeof(bool), "a cache");
    made.is_long = is_long;
    if (status != SP_OK)
        sp_kv_cache_release(&made);
    else
        *cache = made;
    return status;
}

void sp_kv_cache_release(sp_kv_cache *cache) {
    free(cache->k);
    free(cache->v);
    free(cache->lens);
    free(cache->is_long);
    *cache = (sp_kv_cache){0};
}

/* Rows of one call, and what all layers share. */
typedef struct pass {
    const sp_transformer *transformer;
    sp_kv_cache *cache;
    const sp_extension *extensions;
    size_t n_extensions, n_rows;
    uint32_t *rope_rows;           /* [n_rows] */
    sp_attention_cached_seq *seqs; /* [n_extensions] */
    sp_arena *scratch;
} pass;

static float *push_matrix(const pass *p, size_t width) {
    return sp_arena_push(p->scratch, p->n_rows * width * sizeof(float));
}

static void project(const pass *p, const sp_layer *layer, sp_role role, float *y, const float *x) {
    if (!sp_layer_has(layer, role)) return;
    const sp_adapted_linear *linear = &layer->linears[role];
    const size_t used = p->scratch->used;
    float *inner = sp_arena_push(p->scratch, sp_adapted_linear_inner_bytes(linear, p->n_rows));
    sp_adapted_linear_forward(linear, y, inner, x, p->n_rows, NULL, p->scratch);
    p->scratch->used = used;
}

/* Puts the new keys and values of layer l behind those that are there, and points at all of them. */
static void append_to_cache(const pass *p, size_t l, const sp_layer_qkv *qkv) {
    const sp_kv_cache *cache = p->cache;
    const size_t width = cache->kv_width;
    for (size_t e = 0, row = 0; e < p->n_extensions; e++) {
        const size_t seq = p->extensions[e].seq, n = p->extensions[e].n_rows;
        const size_t first = (l * cache->n_seqs + seq) * cache->capacity;
        const size_t at = (first + cache->lens[seq]) * width;
        for (size_t i = 0; i < n; i++) {
            const size_t from = (row + i) * qkv->ld_kv;
            memcpy(cache->k + at + i * width, qkv->k + from, width * sizeof *qkv->k);
            memcpy(cache->v + at + i * width, qkv->v + from, width * sizeof *qkv->v);
        }
        p->seqs[e].spans[0] = (sp_attention_span){.k = cache->k + first * width,
                                                  .v = cache->v + first * width,
                                                  .len = cache->lens[seq] + n,
                                                  .ld = width};
        row += n;
    }
}

static void attend(const pass *p, size_t l, float *x, float *normed) {
    const sp_layer *layer = &p->transformer->layers[l];
    const sp_model_config *c = layer->config;
    const size_t used = p->scratch->used;
    const sp_layer_qkv qkv = sp_layer_push_qkv(layer, p->scratch, p->n_rows);
    float *o = push_matrix(p, sp_q_width(c));
    project(p, layer, SP_ROLE_Q, qkv.q, normed);
    project(p, layer, SP_ROLE_K, qkv.k, normed);
    project(p, layer, SP_ROLE_V, qkv.v, normed);
    sp_layer_rotate(layer, &qkv, p->rope_rows, p->n_rows, false);
    append_to_cache(p, l, &qkv);
    const sp_attention_shape shape = sp_layer_attention_shape(layer);
    void *room = sp_arena_push(p->scratch, sp_attention_scratch_bytes(&shape));
    sp_attention_cached(&shape, p->seqs, p->n_extensions, o, qkv.q, qkv.ld_q, room);
    project(p, layer, SP_ROLE_O, normed, o);
    sp_vector_add(x, normed, p->n_rows * c->d_model);
    p->scratch->used = used;
}

static void feed_forward(const pass *p, const sp_layer *layer, float *x, float *normed) {
    const sp_model_config *c = layer->config;
    const size_t used = p->scratch->used;
    const sp_layer_gate_up places = sp_layer_push_gate_up(layer, p->scratch, p->n_rows);
    float *h = push_matrix(p, c->d_ffn);
    project(p, layer, SP_ROLE_GATE, places.gate, normed);
    project(p, layer, SP_ROLE_UP, places.up, normed);
    sp_layer_activate(layer, h, &places, p->n_rows);
    project(p, layer, SP_ROLE_DOWN, normed, h);
    sp_vector_add(x, normed, p->n_rows * c->d_model);
    p->scratch->used = used;
}

static void run_layers(const pass *p, float *x) {
    const sp_model_config *c = &p->transformer->weights->config;
    float *normed = push_matrix(p, c->d_model);
    float *stats = push_matrix(p, SP_NORM_STATS);
    for (size_t l = 0; l < c->n_layers; l++) {
        const sp_layer *layer = &p->transformer->layers[l];
        sp_norm_forward(&layer->attention_norm, c, normed, stats, x, p->n_rows);
        attend(p, l, x, normed);
        sp_norm_forward(&layer->ffn_norm, c, normed, stats, x, p->n_rows);
        feed_forward(p, layer, x, normed);
    }
}

void sp_transformer_extend(const sp_transformer *transformer, sp_kv_cache *cache, float *x,
                           const sp_extension *extensions, size_t n_extensions, sp_arena *scratch) {
    pass p = {.transformer = transformer,
              .cache = cache,
              .extensions = extensions,
              .n_extensions = n_extensions,
              .scratch = scratch};
    const size_t used = scratch->used;
    for (size_t e = 0; e < n_extensions; e++) p.n_rows += extensions[e].n_rows;
    p.rope_rows = sp_arena_push(scratch, p.n_rows * sizeof *p.rope_rows);
    p.seqs = sp_arena_push(scratch, n_extensions * sizeof *p.seqs);
    for (size_t e = 0, row = 0; e < n_extensions; e++) {
        const size_t seq = extensions[e].seq, n = extensions[e].n_rows, before = cache->lens[seq];
        assert(before + n <= cache->capacity);
        p.seqs[e] = (sp_attention_cached_seq){.begin = row, .len = n};
        for (size_t i = 0; i < n; i++)
            p.rope_rows[row++] =
                sp_transformer_rope_row(transformer, (uint32_t)(before + i), cache->is_long[seq]);
    }
    run_layers(&p, x);
    for (size_t e = 0; e < n_extensions; e++)
        cache->lens[extensions[e].seq] += extensions[e].n_rows;
    scratch->used = used;
}

static size_t matrix_bytes(size_t n_rows, size_t width) {
    return sp_arena_bytes(n_rows * width * sizeof(float));
}

size_t sp_extend_scratch_bytes(const sp_transformer *transformer, size_t n_rows,
                               size_t n_extensions) {
    const sp_model_config *c = &transformer->weights->config;
    const sp_layer *first = &transformer->layers[0]; /* all have the same shapes */
    const sp_attention_shape shape = sp_layer_attention_shape(first);
    size_t linear = 0;
    for (size_t l = 0; l < c->n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++) {
            if (!sp_layer_has(first, role)) continue;
            const sp_cost cost =
                sp_adapted_linear_cost(&transformer->layers[l].linears[role], n_rows);
            if (cost.bytes_kept + cost.bytes_scratch > linear)
                linear = cost.bytes_kept + cost.bytes_scratch;
        }
    if (transformer->weights->head != NULL) {
        const size_t head =
            sp_arena_bytes(sp_linear_scratch_bytes(transformer->weights->head, n_rows));
        if (head > linear) linear = head;
    }
    const size_t attention = matrix_bytes(n_rows, sp_q_width(c)) +
                             sp_layer_qkv_bytes(first, n_rows) +
                             sp_arena_bytes(sp_attention_scratch_bytes(&shape));
    const size_t ffn = sp_layer_gate_up_bytes(first, n_rows) + matrix_bytes(n_rows, c->d_ffn);
    return sp_arena_bytes(n_rows * sizeof(uint32_t)) +
           sp_arena_bytes(n_extensions * sizeof(sp_attention_cached_seq)) +
           matrix_bytes(n_rows, c->d_model) + matrix_bytes(n_rows, SP_NORM_STATS) + linear +
           (attention > ffn ? attention : ffn);
}

void sp_transformer_logits(const sp_transformer *transformer, float *logits, const float *x,
                           size_t n_rows, sp_arena *scratch) {
    const sp_model_config *c = &transformer->weights->config;
    const size_t used = scratch->used;
    float *normed = sp_arena_push(scratch, n_rows * c->d_model * sizeof *normed);
    float *stats = sp_arena_push(scratch, SP_NORM_STATS * n_rows * sizeof *stats);
    sp_norm_forward(&transformer->final_norm, c, normed, stats, x, n_rows);
    void *room =
        sp_arena_push(scratch, sp_linear_scratch_bytes(transformer->weights->head, n_rows));
    sp_linear_forward(transformer->weights->head, logits, normed, n_rows, room);
    scratch->used = used;
}
