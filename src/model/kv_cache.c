#include "model/kv_cache.h"

#include "base/memory.h"
#include "tensor/tensor.h"
#include "tensor/vector.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_ALIGNMENT = 64, NO_SEQ = -1 };

/* Keys and values of some rows of a sequence in every layer. */
struct sp_kv_page {
    sp_kv_page *next; /* free one */
    /* [n_layers, 2, SP_KV_PAGE_ROWS, kv_width], f32 or bf16: keys, then values */
    char values[] __attribute__((aligned(PAGE_ALIGNMENT)));
};

static size_t value_bytes(const sp_kv_cache *cache) {
    return cache->is_bf16 ? sizeof(uint16_t) : sizeof(float);
}

/* Of a page's keys, or values, in one layer. */
static size_t half_bytes(const sp_kv_cache *cache) {
    return SP_KV_PAGE_ROWS * cache->kv_width * value_bytes(cache);
}

static char *keys_of(const sp_kv_cache *cache, sp_kv_page *page, size_t layer) {
    return page->values + 2 * layer * half_bytes(cache);
}

/* The widest window, or 0 where a layer has none. */
static size_t widest_window(const sp_model_config *config) {
    for (size_t l = 0; l < config->n_layers; l++)
        if (!config->has_window[l]) return 0;
    return config->window;
}

void sp_kv_cache_init(sp_kv_cache *cache, const sp_transformer *transformer) {
    const sp_model_config *config = &transformer->weights->config;
    const bool is_f32 = transformer->training == SP_TRAIN_FULL ||
                        transformer->weights->precision == SP_PRECISION_F32;
    *cache = (sp_kv_cache){.n_layers = config->n_layers,
                           .kv_width = sp_kv_width(config),
                           .is_bf16 = !is_f32,
                           .window = widest_window(config)};
}

static void put_back(sp_kv_cache *cache, sp_kv_page **page) {
    if (*page == NULL) return;
    (*page)->next = cache->free_pages;
    cache->free_pages = *page;
    *page = NULL;
}

static sp_status take_page(sp_kv_cache *cache, sp_kv_page **page) {
    if (cache->free_pages == NULL) {
        void *made = NULL;
        SP_TRY(sp_alloc(&made, sizeof(sp_kv_page) + 2 * cache->n_layers * half_bytes(cache),
                        "keys and values"));
        *page = made;
        cache->n_pages++;
        return SP_OK;
    }
    *page = cache->free_pages;
    cache->free_pages = (*page)->next;
    return SP_OK;
}

void sp_kv_cache_release(sp_kv_cache *cache) {
    for (size_t s = 0; s < cache->n_seqs; s++) {
        sp_kv_seq *seq = &cache->seqs[s];
        for (size_t i = 0; i < seq->n_pages; i++) put_back(cache, &seq->pages[i]);
        free(seq->pages);
    }
    for (sp_kv_page *page = cache->free_pages, *next; page != NULL; page = next) {
        next = page->next;
        free(page);
    }
    free(cache->seqs);
    *cache = (sp_kv_cache){0};
}

static sp_status find_closed(sp_kv_cache *cache, size_t *seq) {
    for (size_t s = 0; s < cache->n_seqs; s++)
        if (!cache->seqs[s].is_open) {
            *seq = s;
            return SP_OK;
        }
    if (cache->n_seqs == cache->seq_capacity) {
        const size_t capacity = 2 * cache->seq_capacity + 4;
        sp_kv_seq *grown = realloc(cache->seqs, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu sequences", capacity);
        cache->seqs = grown;
        cache->seq_capacity = capacity;
    }
    cache->seqs[cache->n_seqs] = (sp_kv_seq){0};
    *seq = cache->n_seqs++;
    return SP_OK;
}

sp_status sp_kv_cache_open(sp_kv_cache *cache, size_t *seq, ptrdiff_t parent, bool is_long) {
    SP_TRY(find_closed(cache, seq));
    sp_kv_seq *opened = &cache->seqs[*seq];
    *opened = (sp_kv_seq){.is_open = true,
                          .is_long = is_long,
                          .parent = parent,
                          .pages = opened->pages,
                          .page_capacity = opened->page_capacity};
    if (parent == NO_SEQ) return SP_OK;
    assert(cache->seqs[parent].is_open && cache->seqs[parent].parent == NO_SEQ);
    assert(cache->seqs[parent].is_long == is_long);
    cache->seqs[parent].n_children++;
    return SP_OK;
}

void sp_kv_cache_close(sp_kv_cache *cache, size_t seq) {
    sp_kv_seq *closed = &cache->seqs[seq];
    assert(closed->is_open && closed->n_children == 0);
    for (size_t i = 0; i < closed->n_pages; i++) put_back(cache, &closed->pages[i]);
    if (closed->parent != NO_SEQ) cache->seqs[closed->parent].n_children--;
    closed->n_pages = 0;
    closed->is_open = false;
}

sp_status sp_kv_cache_reserve(sp_kv_cache *cache, size_t seq, size_t n_rows) {
    sp_kv_seq *grown = &cache->seqs[seq];
    const size_t wanted = (grown->len + n_rows + SP_KV_PAGE_ROWS - 1) / SP_KV_PAGE_ROWS;
    if (wanted > grown->page_capacity) {
        const size_t capacity = 2 * wanted;
        sp_kv_page **pages = realloc(grown->pages, capacity * sizeof(sp_kv_page *));
        if (pages == NULL) return sp_fail(SP_FAILURE, "no memory for %zu pages", capacity);
        grown->pages = pages;
        grown->page_capacity = capacity;
    }
    for (; grown->n_pages < wanted; grown->n_pages++)
        SP_TRY(take_page(cache, &grown->pages[grown->n_pages]));
    return SP_OK;
}

/* Gives back what neither the next row nor a child's, which come after it, will see. */
static void drop_behind_window(sp_kv_cache *cache, sp_kv_seq *seq) {
    const size_t next = seq->begin + seq->len;
    if (cache->window == 0 || next + 1 <= cache->window + seq->begin) return;
    const size_t n_unseen = next + 1 - cache->window - seq->begin;
    for (size_t i = 0; i < n_unseen / SP_KV_PAGE_ROWS; i++) put_back(cache, &seq->pages[i]);
}

/* Rows of one call, and what all layers share. */
typedef struct pass {
    const sp_transformer *transformer;
    sp_kv_cache *cache;
    const sp_extension *extensions;
    size_t n_extensions, n_rows;
    uint32_t *rope_rows;           /* [n_rows] */
    sp_attention_cached_seq *seqs; /* [n_extensions] */
    sp_attention_span *spans;      /* of all of them */
    sp_arena *scratch;
} pass;

static float *push_matrix(const pass *p, size_t width) {
    return sp_arena_push(p->scratch, p->n_rows * width * sizeof(float));
}

/* A matrix and where its output goes. */
typedef struct writer {
    sp_role role;
    float *y;
} writer;

/* Runs those of the writers, at most three, that the layer has, over the same x. They share the place of
   inner values, which nobody reads again. */
static void project(const pass *p, const sp_layer *layer, const writer *writers, size_t n_writers,
                    const float *x) {
    sp_adapted_output outputs[3];
    const size_t used = p->scratch->used;
    size_t n = 0, inner_bytes = 0;
    for (size_t i = 0; i < n_writers; i++) {
        const sp_adapted_linear *linear = &layer->linears[writers[i].role];
        const size_t n_bytes = sp_adapted_linear_inner_bytes(linear, p->n_rows);
        if (n_bytes > inner_bytes) inner_bytes = n_bytes;
        if (sp_layer_has(layer, writers[i].role))
            outputs[n++] = (sp_adapted_output){.linear = linear, .y = writers[i].y};
    }
    float *inner = sp_arena_push(p->scratch, inner_bytes);
    for (size_t i = 0; i < n; i++) outputs[i].inner = inner;
    sp_adapted_linear_forward_all(outputs, n, x, p->n_rows, NULL, p->scratch);
    p->scratch->used = used;
}

static void store(const sp_kv_cache *cache, char *to, const float *from) {
    if (cache->is_bf16)
        sp_f32_to_bf16((uint16_t *)(void *)to, from, cache->kv_width);
    else
        memcpy(to, from, cache->kv_width * sizeof *from);
}

/* Puts the new keys and values of layer l behind those that are there. */
static void append_to_cache(const pass *p, size_t l, const sp_layer_qkv *qkv) {
    const sp_kv_cache *cache = p->cache;
    const size_t row_bytes = cache->kv_width * value_bytes(cache);
    for (size_t e = 0, row = 0; e < p->n_extensions; e++) {
        const sp_kv_seq *seq = &cache->seqs[p->extensions[e].seq];
        for (size_t i = 0; i < p->extensions[e].n_rows; i++, row++) {
            const size_t own = seq->len + i, from = row * qkv->ld_kv;
            char *keys = keys_of(cache, seq->pages[own / SP_KV_PAGE_ROWS], l);
            char *to = keys + own % SP_KV_PAGE_ROWS * row_bytes;
            store(cache, to, qkv->k + from);
            store(cache, to + half_bytes(cache), qkv->v + from);
        }
    }
}

/* Writes spans over the first len own rows of a sequence in layer l; returns how many. */
static size_t add_spans(const sp_kv_cache *cache, sp_attention_span *spans, const sp_kv_seq *seq,
                        size_t len, size_t l) {
    size_t n = 0;
    for (size_t begin = 0; begin < len; begin += SP_KV_PAGE_ROWS, n++) {
        sp_kv_page *page = seq->pages[n];
        const size_t left = len - begin;
        spans[n] = (sp_attention_span){.len = left < SP_KV_PAGE_ROWS ? left : SP_KV_PAGE_ROWS,
                                       .ld = cache->kv_width,
                                       .is_bf16 = cache->is_bf16};
        if (page == NULL) continue; /* behind every window */
        spans[n].k = keys_of(cache, page, l);
        spans[n].v = keys_of(cache, page, l) + half_bytes(cache);
    }
    return n;
}

/* Points at the keys and values of layer l, those of this call among them. */
static void point_at_cache(const pass *p, size_t l) {
    const sp_kv_cache *cache = p->cache;
    sp_attention_span *spans = p->spans;
    for (size_t e = 0; e < p->n_extensions; e++) {
        const sp_kv_seq *seq = &cache->seqs[p->extensions[e].seq];
        const size_t own = seq->len + p->extensions[e].n_rows;
        size_t n = 0;
        if (seq->parent != NO_SEQ)
            n = add_spans(cache, spans, &cache->seqs[seq->parent], seq->begin, l);
        n += add_spans(cache, spans + n, seq, own, l);
        p->seqs[e].spans = spans;
        p->seqs[e].n_spans = n;
        p->seqs[e].n_keys = seq->begin + own;
        spans += n;
    }
}

static void attend(const pass *p, size_t l, float *x, float *normed) {
    const sp_layer *layer = &p->transformer->layers[l];
    const sp_model_config *c = layer->config;
    const size_t used = p->scratch->used;
    const sp_layer_qkv qkv = sp_layer_push_qkv(layer, p->scratch, p->n_rows);
    float *o = push_matrix(p, sp_q_width(c));
    project(p, layer, (writer[]){{SP_ROLE_Q, qkv.q}, {SP_ROLE_K, qkv.k}, {SP_ROLE_V, qkv.v}}, 3,
            normed);
    sp_layer_rotate(layer, &qkv, p->rope_rows, p->n_rows, false);
    append_to_cache(p, l, &qkv);
    point_at_cache(p, l);
    const sp_attention_shape shape = sp_layer_attention_shape(layer);
    void *room = sp_arena_push(p->scratch, sp_attention_scratch_bytes(&shape));
    sp_attention_cached(&shape, p->seqs, p->n_extensions, o, qkv.q, qkv.ld_q, room);
    project(p, layer, &(writer){SP_ROLE_O, normed}, 1, o);
    sp_vector_add(x, normed, p->n_rows * c->d_model);
    p->scratch->used = used;
}

static void feed_forward(const pass *p, const sp_layer *layer, float *x, float *normed) {
    const sp_model_config *c = layer->config;
    const size_t used = p->scratch->used;
    const sp_layer_gate_up places = sp_layer_push_gate_up(layer, p->scratch, p->n_rows);
    float *h = push_matrix(p, c->d_ffn);
    project(p, layer, (writer[]){{SP_ROLE_GATE, places.gate}, {SP_ROLE_UP, places.up}}, 2, normed);
    sp_layer_activate(layer, h, &places, p->n_rows);
    project(p, layer, &(writer){SP_ROLE_DOWN, normed}, 1, h);
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

/* A sequence begins behind its parent's rows, those of this call among them. */
static void begin_children(const pass *p) {
    sp_kv_seq *seqs = p->cache->seqs;
    for (size_t e = 0; e < p->n_extensions; e++) {
        sp_kv_seq *seq = &seqs[p->extensions[e].seq];
        if (seq->parent == NO_SEQ || seq->len > 0) continue;
        seq->begin = seqs[seq->parent].len;
        for (size_t before = 0; before < e; before++)
            if (p->extensions[before].seq == (size_t)seq->parent)
                seq->begin += p->extensions[before].n_rows;
    }
}

static size_t n_pages_for(size_t n_rows) {
    return (n_rows + SP_KV_PAGE_ROWS - 1) / SP_KV_PAGE_ROWS;
}

void sp_transformer_extend(const sp_transformer *transformer, sp_kv_cache *cache, float *x,
                           const sp_extension *extensions, size_t n_extensions, sp_arena *scratch) {
    pass p = {.transformer = transformer,
              .cache = cache,
              .extensions = extensions,
              .n_extensions = n_extensions,
              .scratch = scratch};
    const size_t used = scratch->used;
    size_t n_spans = 0;
    begin_children(&p);
    for (size_t e = 0; e < n_extensions; e++) {
        const sp_kv_seq *seq = &cache->seqs[extensions[e].seq];
        assert(n_pages_for(seq->len + extensions[e].n_rows) <= seq->n_pages);
        p.n_rows += extensions[e].n_rows;
        n_spans += n_pages_for(seq->begin) + n_pages_for(seq->len + extensions[e].n_rows);
    }
    p.rope_rows = sp_arena_push(scratch, p.n_rows * sizeof *p.rope_rows);
    p.seqs = sp_arena_push(scratch, n_extensions * sizeof *p.seqs);
    p.spans = sp_arena_push(scratch, n_spans * sizeof *p.spans);
    for (size_t e = 0, row = 0; e < n_extensions; e++) {
        const sp_kv_seq *seq = &cache->seqs[extensions[e].seq];
        const size_t n = extensions[e].n_rows, before = seq->begin + seq->len;
        p.seqs[e] = (sp_attention_cached_seq){.begin = row, .len = n};
        for (size_t i = 0; i < n; i++)
            p.rope_rows[row++] =
                sp_transformer_rope_row(transformer, (uint32_t)(before + i), seq->is_long);
    }
    run_layers(&p, x);
    for (size_t e = 0; e < n_extensions; e++) {
        sp_kv_seq *seq = &cache->seqs[extensions[e].seq];
        seq->len += extensions[e].n_rows;
        drop_behind_window(cache, seq);
    }
    scratch->used = used;
}

static size_t matrix_bytes(size_t n_rows, size_t width) {
    return sp_arena_bytes(n_rows * width * sizeof(float));
}

size_t sp_extend_scratch_bytes(const sp_transformer *transformer, size_t n_rows,
                               size_t n_extensions, size_t n_keys) {
    const sp_model_config *c = &transformer->weights->config;
    const sp_layer *first = &transformer->layers[0]; /* all have the same shapes */
    const sp_attention_shape shape = sp_layer_attention_shape(first);
    size_t inner = 0, linear = 0;
    for (size_t l = 0; l < c->n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++) {
            if (!sp_layer_has(first, role)) continue;
            const sp_cost cost =
                sp_adapted_linear_cost(&transformer->layers[l].linears[role], n_rows);
            if (cost.bytes_kept > inner) inner = cost.bytes_kept;
            if (cost.bytes_scratch > linear) linear = cost.bytes_scratch;
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
           sp_arena_bytes((n_keys / SP_KV_PAGE_ROWS + 2 * n_extensions) *
                          sizeof(sp_attention_span)) +
           matrix_bytes(n_rows, c->d_model) + matrix_bytes(n_rows, SP_NORM_STATS) + inner + linear +
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
