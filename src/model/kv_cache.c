#include "model/kv_cache.h"

#include "base/memory.h"
#include "base/size.h"
#include "tensor/swiglu.h"
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
    void *k = NULL, *v = NULL, *lens = NULL;
    if (!sp_size_mul(&n_rows, n_seqs, capacity) || !sp_size_mul(&n_rows, n_rows, made.n_layers))
        return sp_fail(SP_FAILURE, "a cache of %zu x %zu rows is too large", n_seqs, capacity);
    sp_status status = sp_alloc_array(&k, n_rows, made.kv_width * sizeof(float), "cached keys");
    made.k = k;
    if (status == SP_OK)
        status = sp_alloc_array(&v, n_rows, made.kv_width * sizeof(float), "cached values");
    made.v = v;
    if (status == SP_OK) status = sp_alloc_array(&lens, n_seqs, sizeof *made.lens, "a cache");
    made.lens = lens;
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
    *cache = (sp_kv_cache){0};
}

/* Rows of one call, and what all layers share. */
typedef struct pass {
    const sp_transformer *transformer;
    sp_kv_cache *cache;
    const sp_extension *extensions;
    size_t n_extensions, n_rows;
    uint32_t *positions;           /* [n_rows] */
    sp_attention_cached_seq *seqs; /* [n_extensions] */
    sp_arena *scratch;
} pass;

static float *push_matrix(const pass *p, size_t width) {
    return sp_arena_push(p->scratch, p->n_rows * width * sizeof(float));
}

static void project(const pass *p, const sp_layer *layer, sp_role role, float *y, const float *x) {
    const sp_adapted_linear *linear = &layer->linears[role];
    const size_t used = p->scratch->used;
    float *inner = sp_arena_push(p->scratch, sp_adapted_linear_inner_bytes(linear, p->n_rows));
    sp_adapted_linear_forward(linear, y, inner, x, p->n_rows, NULL, p->scratch);
    p->scratch->used = used;
}

/* Puts the new keys and values of layer l behind those that are there, and points at all of them. */
static void append_to_cache(const pass *p, size_t l, const float *k, const float *v) {
    const sp_kv_cache *cache = p->cache;
    const size_t width = cache->kv_width;
    for (size_t e = 0, row = 0; e < p->n_extensions; e++) {
        const size_t seq = p->extensions[e].seq, n = p->extensions[e].n_rows;
        const size_t first = (l * cache->n_seqs + seq) * cache->capacity;
        const size_t at = (first + cache->lens[seq]) * width;
        memcpy(cache->k + at, k + row * width, n * width * sizeof *k);
        memcpy(cache->v + at, v + row * width, n * width * sizeof *v);
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
    const size_t used = p->scratch->used, q_width = sp_q_width(c), kv_width = sp_kv_width(c);
    float *q = push_matrix(p, q_width), *o = push_matrix(p, q_width);
    float *k = push_matrix(p, kv_width), *v = push_matrix(p, kv_width);
    project(p, layer, SP_ROLE_Q, q, normed);
    project(p, layer, SP_ROLE_K, k, normed);
    project(p, layer, SP_ROLE_V, v, normed);
    sp_rope_forward(layer->rope, q, q_width, p->positions, p->n_rows, c->n_heads);
    sp_rope_forward(layer->rope, k, kv_width, p->positions, p->n_rows, c->n_kv_heads);
    append_to_cache(p, l, k, v);
    const sp_attention_shape shape = sp_attention_shape_of(c);
    void *room = sp_arena_push(p->scratch, sp_attention_scratch_bytes(&shape));
    sp_attention_cached(&shape, p->seqs, p->n_extensions, o, q, q_width, room);
    project(p, layer, SP_ROLE_O, normed, o);
    sp_vector_add(x, normed, p->n_rows * c->d_model);
    p->scratch->used = used;
}

static void feed_forward(const pass *p, const sp_layer *layer, float *x, float *normed) {
    const sp_model_config *c = layer->config;
    const size_t used = p->scratch->used;
    float *gate = push_matrix(p, c->d_ffn), *up = push_matrix(p, c->d_ffn);
    project(p, layer, SP_ROLE_GATE, gate, normed);
    project(p, layer, SP_ROLE_UP, up, normed);
    sp_swiglu_forward(gate, gate, up, p->n_rows * c->d_ffn);
    project(p, layer, SP_ROLE_DOWN, normed, gate);
    sp_vector_add(x, normed, p->n_rows * c->d_model);
    p->scratch->used = used;
}

static void run_layers(const pass *p, float *x) {
    const sp_model_config *c = &p->transformer->weights->config;
    float *normed = push_matrix(p, c->d_model);
    float *rstd = push_matrix(p, 1);
    for (size_t l = 0; l < c->n_layers; l++) {
        const sp_layer *layer = &p->transformer->layers[l];
        const sp_rmsnorm attention_norm = sp_norm_make(&layer->attention_norm, c);
        sp_rmsnorm_forward(&attention_norm, normed, rstd, x, p->n_rows);
        attend(p, l, x, normed);
        const sp_rmsnorm ffn_norm = sp_norm_make(&layer->ffn_norm, c);
        sp_rmsnorm_forward(&ffn_norm, normed, rstd, x, p->n_rows);
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
    p.positions = sp_arena_push(scratch, p.n_rows * sizeof *p.positions);
    p.seqs = sp_arena_push(scratch, n_extensions * sizeof *p.seqs);
    for (size_t e = 0, row = 0; e < n_extensions; e++) {
        const size_t n = extensions[e].n_rows, before = cache->lens[extensions[e].seq];
        assert(before + n <= cache->capacity);
        p.seqs[e] = (sp_attention_cached_seq){.begin = row, .len = n};
        for (size_t i = 0; i < n; i++) p.positions[row++] = (uint32_t)(before + i);
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
    const sp_attention_shape shape = sp_attention_shape_of(c);
    size_t linear = 0;
    for (size_t l = 0; l < c->n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++) {
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
    const size_t attention = 2 * matrix_bytes(n_rows, sp_q_width(c)) +
                             2 * matrix_bytes(n_rows, sp_kv_width(c)) +
                             sp_arena_bytes(sp_attention_scratch_bytes(&shape));
    const size_t ffn = 2 * matrix_bytes(n_rows, c->d_ffn);
    return sp_arena_bytes(n_rows * sizeof(uint32_t)) +
           sp_arena_bytes(n_extensions * sizeof(sp_attention_cached_seq)) +
           matrix_bytes(n_rows, c->d_model) + matrix_bytes(n_rows, 1) + linear +
           (attention > ffn ? attention : ffn);
}

void sp_transformer_logits(const sp_transformer *transformer, float *logits, const float *x,
                           size_t n_rows, sp_arena *scratch) {
    const sp_model_config *c = &transformer->weights->config;
    const size_t used = scratch->used;
    float *normed = sp_arena_push(scratch, n_rows * c->d_model * sizeof *normed);
    float *rstd = sp_arena_push(scratch, n_rows * sizeof *rstd);
    const sp_rmsnorm norm = sp_norm_make(&transformer->final_norm, c);
    sp_rmsnorm_forward(&norm, normed, rstd, x, n_rows);
    void *room =
        sp_arena_push(scratch, sp_linear_scratch_bytes(transformer->weights->head, n_rows));
    sp_linear_forward(transformer->weights->head, logits, normed, n_rows, room);
    scratch->used = used;
}
