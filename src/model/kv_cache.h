/* Inference a few rows at a time: keys and values of earlier rows are kept, so that a new row costs
   one pass through the layers. Several sequences, of unequal length, go on in one call. */
#pragma once

#include "model/transformer.h"

typedef struct sp_kv_cache {
    size_t n_layers, n_seqs, capacity, kv_width; /* capacity: rows a sequence */
    float *k, *v;                                /* [n_layers, n_seqs, capacity, kv_width], owned */
    size_t *lens;                                /* [n_seqs] rows so far, owned */
    /* [n_seqs], owned: which will be longer in the end than sp_longrope_switch(), where the model
       has one; set before the first rows. All false at first. */
    bool *is_long;
} sp_kv_cache; /* all zero: empty */

SP_NODISCARD sp_status sp_kv_cache_create(sp_kv_cache *cache, const sp_model_config *config,
                                          size_t n_seqs, size_t capacity);
void sp_kv_cache_release(sp_kv_cache *cache);

/* n_rows rows that go on sequence `seq` of a cache. */
typedef struct sp_extension {
    size_t seq, n_rows;
} sp_extension;

/* Runs the layers over x [n_rows, d_model], the input rows of `extensions` [n_extensions] one after
   the other, each sequence at most once: x becomes the last layer's hidden states, the cache grows.
   Rotary tables and scratch must reach: sp_transformer_reserve(), sp_extend_scratch_bytes(). */
void sp_transformer_extend(const sp_transformer *transformer, sp_kv_cache *cache, float *x,
                           const sp_extension *extensions, size_t n_extensions, sp_arena *scratch);
size_t sp_extend_scratch_bytes(const sp_transformer *transformer, size_t n_rows,
                               size_t n_extensions);

/* Writes logits [n_rows, vocab_size] of hidden states x [n_rows, d_model]: final norm and head.
   Scratch: another sp_extend_scratch_bytes(transformer, n_rows, 0). */
void sp_transformer_logits(const sp_transformer *transformer, float *logits, const float *x,
                           size_t n_rows, sp_arena *scratch);
