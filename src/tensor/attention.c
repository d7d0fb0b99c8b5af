#include "tensor/attention.h"

#include "tensor/attention_few.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/tensor.h"
#include "tensor/vexp.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* A tile is TILE_QUERIES queries, those of all heads of a group together, against TILE_KEYS keys.
   Scores of 64 KiB and the operands beside them stay in a second-level cache, and the products are
   large enough for 80 % of a core's peak. */
enum { TILE_QUERIES = 128, TILE_KEYS = 128 };

/* Queries up to which plain loops over a block beat products that first pack it: a row or two of a
   group's heads, as decoding has them. */
enum { FEW_QUERIES = 16 };

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

static size_t group_size(const sp_attention_shape *shape) {
    return shape->n_heads / shape->n_kv_heads;
}

/* Rows of a sequence in a tile, each with a group's heads. */
static size_t tile_rows(const sp_attention_shape *shape) {
    const size_t group = group_size(shape);
    return group < TILE_QUERIES ? TILE_QUERIES / group : 1;
}

/* A thread's part of the scratch. Queries are ordered by row, then by head of the group. */
typedef struct workspace {
    float *q, *d_o, *acc;     /* [queries, head_dim]; acc gathers o or dq */
    float *rows;              /* [TILE_KEYS, head_dim]: keys or values that are stored in bf16 */
    float *scores, *d_scores; /* [queries, TILE_KEYS] */
    float *max, *sum;         /* [queries]; backwards: lse, and d_o . o */
} workspace;

static size_t workspace_floats(const sp_attention_shape *shape) {
    const size_t queries = tile_rows(shape) * group_size(shape);
    const size_t floats =
        queries * (3 * shape->head_dim + 2 * TILE_KEYS + 2) + TILE_KEYS * shape->head_dim;
    return (floats + 15) & ~(size_t)15; /* whole cache lines, so that threads share none */
}

size_t sp_attention_scratch_bytes(const sp_attention_shape *shape) {
    return (size_t)omp_get_max_threads() * workspace_floats(shape) * sizeof(float);
}

static workspace thread_workspace(const sp_attention_shape *shape, void *scratch) {
    const size_t queries = tile_rows(shape) * group_size(shape);
    const size_t vectors = queries * shape->head_dim, scores = queries * TILE_KEYS;
    float *base = (float *)scratch + (size_t)omp_get_thread_num() * workspace_floats(shape);
    return (workspace){
        .scores = base,
        .d_scores = base + scores,
        .q = base + 2 * scores,
        .d_o = base + 2 * scores + vectors,
        .acc = base + 2 * scores + 2 * vectors,
        .max = base + 2 * scores + 3 * vectors,
        .sum = base + 2 * scores + 3 * vectors + queries,
        .rows = base + 2 * scores + 3 * vectors + 2 * queries,
    };
}

/* The queries of some rows for one kv head. Row i of the tile sees the first n_before + i + 1 keys
   of its sequence, or the last `window` of these. */
typedef struct tile {
    size_t first_row, n_rows, n_queries, kv_head, n_before;
} tile;

static tile make_tile(const sp_attention_shape *shape, const sp_attention_cached_seq *seq,
                      size_t kv_head, size_t index) {
    const size_t offset = index * tile_rows(shape);
    const size_t n_rows = min(tile_rows(shape), seq->len - offset);
    return (tile){.first_row = seq->begin + offset,
                  .n_rows = n_rows,
                  .n_queries = n_rows * group_size(shape),
                  .kv_head = kv_head,
                  .n_before = seq->n_keys - seq->len + offset};
}

/* Keys in a block, of n_left in the span, of which the tile's last row sees n_seen: whole vectors,
   with which products of few keys run up to twice as fast, where there are so many. */
static size_t block_keys(size_t n_left, size_t n_seen) {
    return min(min(TILE_KEYS, n_left), (n_seen + 15) & ~(size_t)15);
}

/* The first key that row `row` of a tile sees. */
static size_t first_seen(const sp_attention_shape *shape, const tile *t, size_t row) {
    const size_t end = t->n_before + row + 1;
    return shape->window == 0 || end <= shape->window ? 0 : end - shape->window;
}

/* Where in a span of len keys, the first of them the sequence's key `first`, a tile's blocks begin:
   those before hold no key that it sees. len: none does. */
static size_t first_block(const sp_attention_shape *shape, const tile *t, size_t first,
                          size_t len) {
    const size_t seen = first_seen(shape, t, 0);
    if (seen <= first) return 0;
    return seen - first >= len ? len : (seen - first) / TILE_KEYS * TILE_KEYS;
}

/* Those keys of a block of n from `first_key` on that a query of the tile sees: [begin, end). */
typedef struct visible {
    size_t begin, end;
} visible;

static visible visible_keys(const sp_attention_shape *shape, const tile *t, size_t query,
                            size_t first_key, size_t n) {
    const size_t row = query / group_size(shape);
    const size_t begin = first_seen(shape, t, row), end = t->n_before + row + 1;
    return (visible){.begin = begin <= first_key ? 0 : min(begin - first_key, n),
                     .end = end <= first_key ? 0 : min(end - first_key, n)};
}

/* y may be x. */
SP_CLONES static void copy_scaled(float *y, const float *x, float scale, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = scale * x[i];
}

/* Gathers a tile's queries from x [rows, n_heads * head_dim]. */
static void load_tile(const sp_attention_shape *shape, const tile *t, float *out, const float *x,
                      size_t ld, float scale) {
    const size_t width = group_size(shape) * shape->head_dim;
    for (size_t r = 0; r < t->n_rows; r++)
        copy_scaled(out + r * width, x + (t->first_row + r) * ld + t->kv_head * width, scale,
                    width);
}

/* Puts them back. */
static void store_tile(const sp_attention_shape *shape, const tile *t, float *x, size_t ld,
                       const float *in, float scale) {
    const size_t width = group_size(shape) * shape->head_dim;
    for (size_t r = 0; r < t->n_rows; r++)
        copy_scaled(x + (t->first_row + r) * ld + t->kv_head * width, in + r * width, scale, width);
}

/* scores [queries, n] = x y^T for n keys or values in rows of ld. */
static void multiply_scores(const tile *t, float *scores, const float *x, const float *y, size_t ld,
                            size_t n, size_t head_dim) {
    const sp_gemm size = {.m = t->n_queries, .n = n, .k = head_dim, .alpha = 1};
    sp_gemm_nt(size, scores, TILE_KEYS, x, head_dim, y, ld);
}

/* Loops over scores run in whole vectors, a row of scores being wider than its keys: what is not
   visible, up to there, is -infinity, so that its exponential is 0. Returns their length. */
static size_t hide(float *scores, visible seen, size_t n) {
    const size_t padded = (n + 15) & ~(size_t)15;
    for (size_t j = 0; j < seen.begin; j++) scores[j] = -INFINITY;
    for (size_t j = seen.end; j < padded; j++) scores[j] = -INFINITY;
    return padded;
}

/* One query's scores become exp(score - max); when the maximum rises, what was summed before is
   scaled down to it. */
SP_CLONES static void soften(float *restrict scores, size_t n, float *restrict row_max,
                             float *restrict row_sum, float *restrict acc, size_t head_dim) {
    float max = *row_max;
#pragma omp simd reduction(max : max)
    for (size_t j = 0; j < n; j++) max = scores[j] > max ? scores[j] : max;
    if (max == -INFINITY) { /* no key in the window yet */
        for (size_t j = 0; j < n; j++) scores[j] = 0;
        return;
    }
    if (max > *row_max) {
        const float factor = sp_vexp(*row_max - max);
        *row_max = max;
        *row_sum *= factor;
#pragma omp simd
        for (size_t i = 0; i < head_dim; i++) acc[i] *= factor;
    }
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) {
        scores[j] = sp_vexp(scores[j] - max);
        sum += scores[j];
    }
    *row_sum += sum;
}

/* Keys of a span, or their values, of one kv head. */
typedef struct block {
    const sp_attention_span *span;
    size_t begin, n, column;
} block;

/* f32 rows ld apart. */
typedef struct f32_rows {
    const float *at;
    size_t ld;
} f32_rows;

/* Rows [begin, begin + n) of a block of `values`, the span's k or v: in place, or expanded into room
   [n, head_dim]. */
static f32_rows load_rows(const block *b, const void *values, size_t begin, size_t n,
                          size_t head_dim, float *room) {
    const size_t ld = b->span->ld, at = (b->begin + begin) * ld + b->column;
    if (!b->span->is_bf16) return (f32_rows){(const float *)values + at, ld};
    const uint16_t *stored = (const uint16_t *)values + at;
    for (size_t r = 0; r < n; r++) sp_bf16_to_f32(room + r * head_dim, stored + r * ld, head_dim);
    return (f32_rows){room, head_dim};
}

/* The softmax over the block that `first_key` begins, its scores being there. */
static void soften_block(const sp_attention_shape *shape, const tile *t, const workspace *w,
                         size_t n, size_t first_key) {
    const size_t head_dim = shape->head_dim;
    for (size_t i = 0; i < t->n_queries; i++) {
        float *scores = w->scores + i * TILE_KEYS;
        const size_t padded = hide(scores, visible_keys(shape, t, i, first_key, n), n);
        soften(scores, padded, &w->max[i], &w->sum[i], w->acc + i * head_dim, head_dim);
    }
}

/* Adds the keys of one block, of which the first is the sequence's key `first_key`. */
static void add_block(const sp_attention_shape *shape, const tile *t, const workspace *w,
                      const block *b, size_t first_key) {
    const size_t head_dim = shape->head_dim;
    const f32_rows k = load_rows(b, b->span->k, 0, b->n, head_dim, w->rows);
    multiply_scores(t, w->scores, w->q, k.at, k.ld, b->n, head_dim);
    soften_block(shape, t, w, b->n, first_key);
    const f32_rows v = load_rows(b, b->span->v, 0, b->n, head_dim, w->rows);
    const sp_gemm size = {.m = t->n_queries, .n = head_dim, .k = b->n, .alpha = 1, .beta = 1};
    sp_gemm_nn(size, w->acc, head_dim, w->scores, TILE_KEYS, v.at, v.ld);
}

/* The same for few queries: rows are expanded a few at a time, which stay in the first-level cache. */
static void add_block_few(const sp_attention_shape *shape, const tile *t, const workspace *w,
                          const block *b, size_t first_key) {
    enum { AT_ONCE = 16 };
    const size_t head_dim = shape->head_dim;
    for (size_t j = 0; j < b->n; j += AT_ONCE) {
        const size_t n = min(AT_ONCE, b->n - j);
        const f32_rows k = load_rows(b, b->span->k, j, n, head_dim, w->rows);
        sp_attention_few_scores(w->scores + j, TILE_KEYS, w->q, t->n_queries, head_dim, k.at, k.ld,
                                n);
    }
    soften_block(shape, t, w, b->n, first_key);
    for (size_t j = 0; j < b->n; j += AT_ONCE) {
        const size_t n = min(AT_ONCE, b->n - j);
        const f32_rows v = load_rows(b, b->span->v, j, n, head_dim, w->rows);
        sp_attention_few_values(w->acc, w->scores + j, TILE_KEYS, t->n_queries, head_dim, v.at,
                                v.ld, n);
    }
}

static void forward_tile(const sp_attention_shape *shape, const sp_attention_cached_seq *seq,
                         const tile *t, const workspace *w, float *o, float *lse, const float *q,
                         size_t ld_q) {
    const size_t head_dim = shape->head_dim, group = group_size(shape);
    load_tile(shape, t, w->q, q, ld_q, shape->scale);
    memset(w->acc, 0, t->n_queries * head_dim * sizeof *w->acc);
    for (size_t i = 0; i < t->n_queries; i++) {
        w->max[i] = -INFINITY;
        w->sum[i] = 0;
    }
    const size_t end = t->n_before + t->n_rows; /* what the last row sees */
    for (size_t s = 0, first = 0; s < seq->n_spans; first += seq->spans[s].len, s++) {
        const sp_attention_span *span = &seq->spans[s];
        for (size_t begin = first_block(shape, t, first, span->len);
             begin < span->len && first + begin < end; begin += TILE_KEYS) {
            const size_t n = block_keys(span->len - begin, end - first - begin);
            const block b = {span, begin, n, t->kv_head * head_dim};
            if (t->n_queries <= FEW_QUERIES)
                add_block_few(shape, t, w, &b, first + begin);
            else
                add_block(shape, t, w, &b, first + begin);
        }
    }
    for (size_t i = 0; i < t->n_queries; i++) {
        float *row = w->acc + i * head_dim;
        copy_scaled(row, row, 1 / w->sum[i], head_dim);
        if (lse != NULL)
            lse[(t->first_row + i / group) * shape->n_heads + t->kv_head * group + i % group] =
                w->max[i] + logf(w->sum[i]);
    }
    store_tile(shape, t, o, shape->n_heads * head_dim, w->acc, 1);
}

/* A sequence of a batch as one over spans: its parent's rows, then its own. */
static sp_attention_cached_seq as_cached(sp_attention_span spans[2], const sp_attention_seq *seqs,
                                         size_t s, const sp_attention_inputs *in) {
    const sp_attention_seq *own = &seqs[s];
    const size_t ld = in->ld_kv, at = own->begin * ld;
    spans[0] = (sp_attention_span){0};
    if (own->parent >= 0) {
        const sp_attention_seq *parent = &seqs[own->parent];
        spans[0] = (sp_attention_span){in->k + parent->begin * ld, in->v + parent->begin * ld,
                                       parent->len, ld, false};
    }
    spans[1] = (sp_attention_span){in->k + at, in->v + at, own->len, ld, false};
    return (sp_attention_cached_seq){.begin = own->begin,
                                     .len = own->len,
                                     .n_keys = spans[0].len + own->len,
                                     .spans = spans,
                                     .n_spans = 2};
}

/* Tiles differ in cost, so threads take them as they come; no result depends on who does. */
void sp_attention_forward(const sp_attention_shape *shape, const sp_attention_seq *seqs,
                          size_t n_seqs, float *o, float *lse, const sp_attention_inputs *in,
                          void *scratch) {
    size_t longest = 0;
    for (size_t s = 0; s < n_seqs; s++) longest = seqs[s].len > longest ? seqs[s].len : longest;
    const size_t rows = tile_rows(shape), n_tiles = (longest + rows - 1) / rows;
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (size_t s = 0; s < n_seqs; s++)
        for (size_t h = 0; h < shape->n_kv_heads; h++)
            for (size_t i = 0; i < n_tiles; i++) {
                if (i * rows >= seqs[s].len) continue;
                const workspace w = thread_workspace(shape, scratch);
                sp_attention_span spans[2];
                const sp_attention_cached_seq seq = as_cached(spans, seqs, s, in);
                const tile t = make_tile(shape, &seq, h, i);
                forward_tile(shape, &seq, &t, &w, o, lse, in->q, in->ld_q);
            }
}

void sp_attention_cached(const sp_attention_shape *shape, const sp_attention_cached_seq *seqs,
                         size_t n_seqs, float *o, const float *q, size_t ld_q, void *scratch) {
    size_t longest = 0;
    for (size_t s = 0; s < n_seqs; s++) longest = seqs[s].len > longest ? seqs[s].len : longest;
    const size_t rows = tile_rows(shape), n_tiles = (longest + rows - 1) / rows;
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (size_t s = 0; s < n_seqs; s++)
        for (size_t h = 0; h < shape->n_kv_heads; h++)
            for (size_t i = 0; i < n_tiles; i++) {
                if (i * rows >= seqs[s].len) continue;
                const workspace w = thread_workspace(shape, scratch);
                const tile t = make_tile(shape, &seqs[s], h, i);
                forward_tile(shape, &seqs[s], &t, &w, o, NULL, q, ld_q);
            }
}

/* One query's scores become p = exp(score - lse), and d_scores p (d_scores - delta). */
SP_CLONES static void recompute(float *restrict scores, float lse, size_t n) {
#pragma omp simd
    for (size_t j = 0; j < n; j++) scores[j] = sp_vexp(scores[j] - lse);
}

SP_CLONES static void pull_back(float *restrict d_scores, const float *restrict p, float delta,
                                size_t n) {
#pragma omp simd
    for (size_t j = 0; j < n; j++) d_scores[j] = p[j] * (d_scores[j] - delta);
}

SP_CLONES static float dot(const float *restrict a, const float *restrict b, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Keys and values of one sequence of the family, with their gradients. */
typedef struct gradient_span {
    sp_attention_span in;
    float *dk, *dv;
    size_t ld;
} gradient_span;

/* y [n, head_dim] += x^T z, with x [queries, n] and z [queries, head_dim]. */
static void add_transposed(const tile *t, float *y, size_t ld, const float *x, const float *z,
                           size_t n, size_t head_dim) {
    const sp_gemm size = {.m = n, .n = head_dim, .k = t->n_queries, .alpha = 1, .beta = 1};
    sp_gemm_tn(size, y, ld, x, TILE_KEYS, z, head_dim);
}

static void backward_block(const sp_attention_shape *shape, const tile *t, const workspace *w,
                           const gradient_span *span, size_t begin, size_t n, size_t first_key) {
    const size_t head_dim = shape->head_dim;
    const size_t d_at = begin * span->ld + t->kv_head * head_dim;
    /* Rows of a batch, which are f32. */
    const size_t at = begin * span->in.ld + t->kv_head * head_dim;
    const float *k = (const float *)span->in.k + at, *v = (const float *)span->in.v + at;
    multiply_scores(t, w->scores, w->q, k, span->in.ld, n, head_dim);
    for (size_t i = 0; i < t->n_queries; i++) {
        float *scores = w->scores + i * TILE_KEYS;
        recompute(scores, w->max[i], hide(scores, visible_keys(shape, t, i, first_key, n), n));
    }
    add_transposed(t, span->dv + d_at, span->ld, w->scores, w->d_o, n, head_dim);
    multiply_scores(t, w->d_scores, w->d_o, v, span->in.ld, n, head_dim);
    for (size_t i = 0; i < t->n_queries; i++)
        pull_back(w->d_scores + i * TILE_KEYS, w->scores + i * TILE_KEYS, w->sum[i], n);
    add_transposed(t, span->dk + d_at, span->ld, w->d_scores, w->q, n, head_dim);
    const sp_gemm size = {.m = t->n_queries, .n = head_dim, .k = n, .alpha = 1, .beta = 1};
    sp_gemm_nn(size, w->acc, head_dim, w->d_scores, TILE_KEYS, k, span->in.ld);
}

/* What the backward pass reads and writes. */
typedef struct backward_io {
    const sp_attention_gradients *out;
    const float *d_o, *o, *lse;
    const sp_attention_inputs *in;
} backward_io;

/* Fills q (scaled, so that dk needs no scale of its own), d_o, lse and d_o . o of a tile. */
static void load_backward(const sp_attention_shape *shape, const tile *t, const workspace *w,
                          const backward_io *io) {
    const size_t head_dim = shape->head_dim, group = group_size(shape);
    const size_t ld_o = shape->n_heads * head_dim;
    load_tile(shape, t, w->q, io->in->q, io->in->ld_q, shape->scale);
    load_tile(shape, t, w->d_o, io->d_o, ld_o, 1);
    load_tile(shape, t, w->acc, io->o, ld_o, 1);
    for (size_t i = 0; i < t->n_queries; i++) {
        const size_t row = t->first_row + i / group, head = t->kv_head * group + i % group;
        w->max[i] = io->lse[row * shape->n_heads + head];
        w->sum[i] = dot(w->d_o + i * head_dim, w->acc + i * head_dim, head_dim);
    }
    memset(w->acc, 0, t->n_queries * head_dim * sizeof *w->acc);
}

static void backward_tile(const sp_attention_shape *shape, const gradient_span spans[2],
                          const tile *t, const workspace *w, const backward_io *io) {
    load_backward(shape, t, w, io);
    const size_t end = t->n_before + t->n_rows;
    for (size_t s = 0, first = 0; s < 2; first += spans[s].in.len, s++) {
        const size_t len = spans[s].in.len;
        for (size_t begin = first_block(shape, t, first, len); begin < len && first + begin < end;
             begin += TILE_KEYS)
            backward_block(shape, t, w, &spans[s], begin,
                           block_keys(len - begin, end - first - begin), first + begin);
    }
    store_tile(shape, t, io->out->dq, io->out->ld_dq, w->acc, shape->scale);
}

static void backward_seq(const sp_attention_shape *shape, const sp_attention_seq *seqs, size_t s,
                         size_t kv_head, const workspace *w, const backward_io *io) {
    sp_attention_span own[2];
    const sp_attention_cached_seq seq = as_cached(own, seqs, s, io->in);
    const sp_attention_gradients *out = io->out;
    const size_t owner[2] = {seqs[s].parent >= 0 ? (size_t)seqs[s].parent : s, s};
    gradient_span spans[2];
    for (size_t i = 0; i < 2; i++) {
        const size_t at = seqs[owner[i]].begin * out->ld_dkv;
        spans[i] = (gradient_span){seq.spans[i], out->dk + at, out->dv + at, out->ld_dkv};
    }
    const size_t rows = tile_rows(shape);
    for (size_t i = 0; i * rows < seq.len; i++) {
        const tile t = make_tile(shape, &seq, kv_head, i);
        backward_tile(shape, spans, &t, w, io);
    }
}

static void clear_rows(const sp_attention_shape *shape, const sp_attention_seq *seq, size_t kv_head,
                       const sp_attention_gradients *out) {
    const size_t n_bytes = shape->head_dim * sizeof(float);
    for (size_t r = seq->begin; r < seq->begin + seq->len; r++) {
        memset(out->dk + r * out->ld_dkv + kv_head * shape->head_dim, 0, n_bytes);
        memset(out->dv + r * out->ld_dkv + kv_head * shape->head_dim, 0, n_bytes);
    }
}

/* A family's dk and dv of one kv head belong to one task, which adds the sequences in order. */
void sp_attention_backward(const sp_attention_shape *shape, const sp_attention_seq *seqs,
                           size_t n_seqs, const sp_attention_gradients *out, const float *d_o,
                           const float *o, const float *lse, const sp_attention_inputs *in,
                           void *scratch) {
    const backward_io io = {.out = out, .d_o = d_o, .o = o, .lse = lse, .in = in};
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t first = 0; first < n_seqs; first++)
        for (size_t h = 0; h < shape->n_kv_heads; h++) {
            if (seqs[first].parent >= 0) continue; /* its parent's task does it */
            size_t end = first + 1;
            while (end < n_seqs && seqs[end].parent >= 0) end++;
            const workspace w = thread_workspace(shape, scratch);
            for (size_t s = first; s < end; s++) clear_rows(shape, &seqs[s], h, out);
            for (size_t s = first; s < end; s++) backward_seq(shape, seqs, s, h, &w, &io);
        }
}
