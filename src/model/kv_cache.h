/* Inference a few rows at a time: keys and values of earlier rows are kept, so that a new row costs
   one pass through the layers. Several sequences, of unequal length, go on in one call.

   Rows lie in pages of SP_KV_PAGE_ROWS, which a sequence takes as it grows and gives back when it is
   closed, so that memory follows the rows that are there, not the sequences that ever were. A
   sequence may go on from another one's rows, its parent's, which are read where they are. Rows that
   no layer's window reaches any more are given back before that. */
#pragma once

#include "model/transformer.h"

/* A block of attention's keys: shorter pages make its products smaller, longer ones leave more of a
   sequence's last page empty. */
enum { SP_KV_PAGE_ROWS = 128 };

typedef struct sp_kv_page sp_kv_page; /* opaque */

typedef struct sp_kv_seq {
    bool is_open, is_long;
    ptrdiff_t parent; /* another sequence, or -1 */
    size_t n_children;
    size_t begin, len;  /* rows before its own, its parent's; and its own */
    sp_kv_page **pages; /* [n_pages], owned; NULL where given back */
    size_t n_pages, page_capacity;
} sp_kv_seq;

typedef struct sp_kv_cache {
    size_t n_layers, kv_width;
    bool is_bf16;
    size_t window;   /* rows that any layer sees; 0: all */
    sp_kv_seq *seqs; /* [n_seqs], owned */
    size_t n_seqs, seq_capacity;
    sp_kv_page *free_pages; /* owned */
    size_t n_pages;         /* there are, free ones too */
} sp_kv_cache;              /* all zero: empty */

/* Makes a cache for a model: in f32, or in bf16 where the model's weights are less than f32. */
void sp_kv_cache_init(sp_kv_cache *cache, const sp_transformer *transformer);
void sp_kv_cache_release(sp_kv_cache *cache);

/* Opens a sequence without rows into *seq. `parent` is an open sequence that has none itself, or -1;
   its rows are to be there before, or come in the same call as, the first of this one, and it stays
   as long as it has children. is_long: it will be longer in the end, its parent's rows included,
   than sp_longrope_switch(); parent and children agree in that. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_kv_cache_open(sp_kv_cache *cache, size_t *seq, ptrdiff_t parent,
                                        bool is_long);
void sp_kv_cache_close(sp_kv_cache *cache, size_t seq);

/* Makes room for n_rows more of a sequence. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_kv_cache_reserve(sp_kv_cache *cache, size_t seq, size_t n_rows);

/* n_rows rows that go on sequence `seq` of a cache, for which there is room. */
typedef struct sp_extension {
    size_t seq, n_rows;
} sp_extension;

/* Runs the layers over x [n_rows, d_model], the input rows of `extensions` [n_extensions] one after
   the other, each sequence at most once, a parent before its children: x becomes the last layer's
   hidden states, the cache grows. Rotary tables and scratch must reach: sp_transformer_reserve(),
   sp_extend_scratch_bytes(). */
void sp_transformer_extend(const sp_transformer *transformer, sp_kv_cache *cache, float *x,
                           const sp_extension *extensions, size_t n_extensions, sp_arena *scratch);

/* n_keys: rows of all their sequences after the call, a parent's counted for each child. */
size_t sp_extend_scratch_bytes(const sp_transformer *transformer, size_t n_rows,
                               size_t n_extensions, size_t n_keys);

/* Writes logits [n_rows, vocab_size] of hidden states x [n_rows, d_model]: final norm and head.
   Scratch: another sp_extend_scratch_bytes(transformer, n_rows, 0, 0). */
void sp_transformer_logits(const sp_transformer *transformer, float *logits, const float *x,
                           size_t n_rows, sp_arena *scratch);
