/* Causal attention over ragged sequences with parents, grouped-query, in f32.

       o[r,h] = sum_j p[r,h,j] v[j,g]     p[r,h,:] = softmax_j(scale * q[r,h] . k[j,g])

   with g = h / (n_heads / n_kv_heads), and j over every row of the parent of r's sequence, then
   over its own rows up to r. Memory is a few tiles a thread: online softmax (Milakov & Gimelshein,
   arXiv 1805.02867), as in FlashAttention (arXiv 2205.14135). The backward pass recomputes p.

   Row-major f32: q and o [n_rows, n_heads * head_dim], k and v [n_rows, n_kv_heads * head_dim].
   Rows lie ld values apart, so one wide buffer may hold q, k and v side by side. Outputs overlap no
   inputs. Nothing allocates or fails. Tasks (sequence or family, kv head, query tile) are spread
   over OpenMP threads; results do not depend on how many there are. `scratch` is 64-byte aligned
   and of sp_attention_scratch_bytes(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_attention_shape {
    size_t n_heads, n_kv_heads, head_dim; /* n_kv_heads divides n_heads */
    float scale;                          /* 1 / sqrt(head_dim) in Llama */
    size_t window;                        /* keys that a row sees, its own the last; 0: all */
} sp_attention_shape;

/* Scratch for any of the calls below, for the present number of OpenMP threads. */
size_t sp_attention_scratch_bytes(const sp_attention_shape *shape);

/* Rows [begin, begin + len); begins rise and sequences do not overlap. A family is contiguous: a
   parent, which has no parent itself, then its children. */
typedef struct sp_attention_seq {
    size_t begin, len;
    ptrdiff_t parent; /* index of a sequence before, or -1 */
} sp_attention_seq;

typedef struct sp_attention_inputs {
    const float *q, *k, *v;
    size_t ld_q, ld_kv; /* values */
} sp_attention_inputs;

/* Writes o [n_rows, n_heads * head_dim] without padding, and lse [n_rows, n_heads], the logarithm
   of each softmax's denominator, for the backward pass; lse may be NULL. Rows of no sequence stay
   untouched. */
void sp_attention_forward(const sp_attention_shape *shape, const sp_attention_seq *seqs,
                          size_t n_seqs, float *o, float *lse, const sp_attention_inputs *in,
                          void *scratch);

typedef struct sp_attention_gradients {
    float *dq, *dk, *dv; /* shaped as q, k, v */
    size_t ld_dq, ld_dkv;
} sp_attention_gradients;

/* Given d_o = dL/do, and o and lse as forward() wrote them, writes dq, dk and dv. */
void sp_attention_backward(const sp_attention_shape *shape, const sp_attention_seq *seqs,
                           size_t n_seqs, const sp_attention_gradients *out, const float *d_o,
                           const float *o, const float *lse, const sp_attention_inputs *in,
                           void *scratch);

/* Keys and values that lie together: k and v [len, n_kv_heads * head_dim], rows ld values apart, in
   f32 or, as uint16_t, in bf16. A page of a KV cache, say, which several sequences may share. */
typedef struct sp_attention_span {
    const void *k, *v;
    size_t len, ld; /* values */
    bool is_bf16;
} sp_attention_span;

/* Inference: query rows [begin, begin + len) over the keys of `spans` [n_spans], borrowed, one after
   the other; any may be empty. The last `len` keys are the rows' own; what comes before is all
   visible, so row i sees the first n_keys - len + i + 1 keys, or the last `window` of these. Spans
   that hold no key that is seen are not read. */
typedef struct sp_attention_cached_seq {
    size_t begin, len, n_keys; /* n_keys: of all spans */
    const sp_attention_span *spans;
    size_t n_spans;
} sp_attention_cached_seq;

/* Writes o [n_rows, n_heads * head_dim] for q of the same shape with rows ld_q apart. What a
   sequence gets does not depend on the others of the call. */
void sp_attention_cached(const sp_attention_shape *shape, const sp_attention_cached_seq *seqs,
                         size_t n_seqs, float *o, const float *q, size_t ld_q, void *scratch);
