/* Inside decoding.h: sequences and what holds them. For decoding.c, which runs them, and
   decoding_prompts.c, which makes them of prompts. */
#pragma once

#include "model/kv_cache.h"
#include "run/decoding.h"

/* A prompt, or the prefix of some. */
typedef struct sp_decoding_seq {
    struct sp_decoding_seq *next;   /* in its list */
    struct sp_decoding_seq *prefix; /* or NULL */
    size_t n_children;              /* of a prefix: that have not ended */
    size_t number;
    sp_decoding_limits limits;
    float *x; /* [n_rows, d_model] input rows, owned until they are read */
    size_t n_rows, n_read;
    size_t most_rows; /* that it may come to, its prefix's included */
    bool is_long, is_open;
    size_t seq;       /* in the cache, while it is open */
    size_t n_in_pass; /* rows in the present pass */
    int32_t *ids;     /* [max_new_tokens], owned */
    size_t n_ids;
} sp_decoding_seq;

struct sp_decoding {
    sp_transformer *transformer;
    sp_kv_cache cache;
    sp_decoding_seq *waiting, **waiting_end, *ended;
    size_t n_waiting, n_added;
    sp_decoding_seq **active; /* [most_at_once], the first n_active going on */
    size_t n_active, most_at_once;
    sp_arena arena;
    /* The present pass. */
    sp_decoding_seq **readers; /* [2 most_at_once] whose rows they are, in order */
    sp_extension *extensions;
    size_t n_readers, n_rows;
    int32_t *tokens;     /* [most_at_once] of those that are past their prompts, which come first */
    uint32_t *positions; /* [most_at_once] */
    size_t n_tokens;
    float *x, *logits;
    size_t x_capacity, logits_capacity; /* rows */
};

void sp_decoding_seq_free(sp_decoding_seq *seq);

/* The end of the family, a parent and its children or one that is alone, that begins with sequence
   `first` of prompts. */
size_t sp_decoding_family_end(const sp_rows *prompts, size_t first);

/* Adds the prompts of that family to those that wait; `first` and what follows are numbered from
   d->n_added on. */
SP_NODISCARD sp_status sp_decoding_add_family(sp_decoding *d, const sp_rows *prompts, size_t first,
                                              const float *slots, const sp_decoding_limits *limits);
