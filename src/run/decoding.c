#include "run/decoding.h"

#include "base/memory.h"
#include "model/kv_cache.h"

#include <stdlib.h>
#include <string.h>

typedef struct decoding {
    sp_transformer *transformer;
    const sp_decoding_limits *limits;
    sp_decoded *decoded;
    sp_kv_cache cache;
    sp_arena arena;
    sp_extension *extensions; /* [n_seqs] of the sequences that still go on */
    size_t n_going_on;
    float *x, *logits;
    int32_t *next;       /* [n_seqs] the token that each of them is to read */
    uint32_t *positions; /* [n_seqs] where it stands */
} decoding;

static size_t longest(const sp_rows *prompts) {
    size_t most = 0;
    for (size_t s = 0; s < prompts->n_seqs; s++)
        if (prompts->seqs[s].len > most) most = prompts->seqs[s].len;
    return most;
}

/* Rows that a sequence may come to: its prompt's, then all new ones, as far as the model has
   positions. */
static size_t most_rows(const decoding *d, size_t prompt_len) {
    const sp_model_config *c = &d->transformer->weights->config;
    const size_t most = prompt_len + d->limits->max_new_tokens;
    if (!c->family->has_learned_positions || most <= c->max_positions) return most;
    return prompt_len > c->max_positions ? prompt_len : c->max_positions;
}

static sp_status reserve(decoding *d, const sp_rows *prompts) {
    const sp_model_config *c = &d->transformer->weights->config;
    const size_t n = prompts->n_seqs, capacity = most_rows(d, longest(prompts));
    const size_t n_rows = prompts->n_rows > n ? prompts->n_rows : n;
    void *x = NULL, *logits = NULL, *next = NULL, *positions = NULL, *extensions = NULL;
    void *ids = NULL, *lens = NULL;
    SP_TRY(sp_transformer_reserve(d->transformer, capacity));
    SP_TRY(sp_kv_cache_create(&d->cache, c, n, capacity));
    for (size_t s = 0; s < n; s++)
        d->cache.is_long[s] = most_rows(d, prompts->seqs[s].len) > sp_longrope_switch(c);
    const size_t extend = sp_extend_scratch_bytes(d->transformer, n_rows, n);
    const size_t embed = sp_embed_scratch_bytes(&d->transformer->embedding, n_rows);
    SP_TRY(sp_arena_reserve(&d->arena, extend > embed ? extend : embed, "decoding"));
    SP_TRY(sp_alloc_array(&x, n_rows, c->d_model * sizeof *d->x, "hidden states"));
    d->x = x;
    SP_TRY(sp_alloc_array(&logits, n, c->vocab_size * sizeof *d->logits, "logits"));
    d->logits = logits;
    SP_TRY(sp_alloc_array(&next, n, sizeof *d->next, "decoding"));
    d->next = next;
    SP_TRY(sp_alloc_array(&positions, n, sizeof *d->positions, "decoding"));
    d->positions = positions;
    SP_TRY(sp_alloc_array(&extensions, n, sizeof *d->extensions, "decoding"));
    d->extensions = extensions;
    SP_TRY(sp_alloc_array(&ids, n, sizeof *d->decoded->ids, "decoded tokens"));
    d->decoded->ids = ids;
    d->decoded->n_seqs = n;
    SP_TRY(sp_alloc_array(&lens, n, sizeof *d->decoded->lens, "decoded tokens"));
    d->decoded->lens = lens;
    for (size_t s = 0; s < n; s++) {
        void *tokens = NULL;
        SP_TRY(
            sp_alloc_array(&tokens, d->limits->max_new_tokens, sizeof(int32_t), "decoded tokens"));
        d->decoded->ids[s] = tokens;
    }
    return SP_OK;
}

static int32_t likeliest(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static bool stops(const sp_decoding_limits *limits, int32_t id) {
    for (size_t i = 0; i < limits->n_stop_ids; i++)
        if (limits->stop_ids[i] == id) return true;
    return id == limits->eos;
}

/* x holds the last rows of the sequences that go on: gives each its next token, and lets those that
   end drop out. */
static void choose(decoding *d) {
    const size_t vocab_size = d->transformer->weights->config.vocab_size;
    sp_transformer_logits(d->transformer, d->logits, d->x, d->n_going_on, &d->arena);
    size_t n_left = 0;
    for (size_t i = 0; i < d->n_going_on; i++) {
        const size_t seq = d->extensions[i].seq;
        const int32_t id = likeliest(d->logits + i * vocab_size, vocab_size);
        if (stops(d->limits, id)) continue;
        d->decoded->ids[seq][d->decoded->lens[seq]++] = id;
        if (d->decoded->lens[seq] == d->limits->max_new_tokens) continue;
        if (d->cache.lens[seq] == d->cache.capacity) continue; /* no position is left */
        d->extensions[n_left] = (sp_extension){.seq = seq, .n_rows = 1};
        d->positions[n_left] = (uint32_t)d->cache.lens[seq];
        d->next[n_left++] = id;
    }
    d->n_going_on = n_left;
}

static void read_prompts(decoding *d, const sp_rows *prompts, const float *slots) {
    const size_t d_model = d->transformer->weights->config.d_model;
    const sp_embed_rows rows = {prompts->ids, prompts->positions, prompts->n_rows, slots};
    sp_embed(&d->transformer->embedding, d->x, &rows, &d->arena);
    for (size_t s = 0; s < prompts->n_seqs; s++)
        d->extensions[s] = (sp_extension){.seq = s, .n_rows = prompts->seqs[s].len};
    d->n_going_on = prompts->n_seqs;
    sp_transformer_extend(d->transformer, &d->cache, d->x, d->extensions, d->n_going_on, &d->arena);
    for (size_t s = 0; s < prompts->n_seqs; s++) {
        const sp_attention_seq *seq = &prompts->seqs[s];
        memmove(d->x + s * d_model, d->x + (seq->begin + seq->len - 1) * d_model,
                d_model * sizeof *d->x);
    }
}

static void decode(decoding *d, const sp_rows *prompts, const float *slots) {
    if (d->limits->max_new_tokens == 0 || prompts->n_seqs == 0) return;
    read_prompts(d, prompts, slots);
    choose(d);
    while (d->n_going_on > 0) {
        const sp_embed_rows rows = {d->next, d->positions, d->n_going_on, NULL};
        sp_embed(&d->transformer->embedding, d->x, &rows, &d->arena);
        sp_transformer_extend(d->transformer, &d->cache, d->x, d->extensions, d->n_going_on,
                              &d->arena);
        choose(d);
    }
}

sp_status sp_decode_greedily(sp_decoded *decoded, sp_transformer *transformer,
                             const sp_rows *prompts, const float *slots,
                             const sp_decoding_limits *limits) {
    sp_decoded made = {0};
    decoding d = {.transformer = transformer, .limits = limits, .decoded = &made};
    const sp_status status = reserve(&d, prompts);
    if (status == SP_OK) {
        decode(&d, prompts, slots);
        *decoded = made;
        made = (sp_decoded){0};
    }
    sp_decoded_free(&made);
    sp_kv_cache_release(&d.cache);
    sp_arena_release(&d.arena);
    free(d.x);
    free(d.logits);
    free(d.next);
    free(d.positions);
    free(d.extensions);
    return status;
}

void sp_decoded_free(sp_decoded *decoded) {
    for (size_t s = 0; s < decoded->n_seqs; s++)
        if (decoded->ids != NULL) free(decoded->ids[s]);
    free(decoded->ids);
    free(decoded->lens);
    *decoded = (sp_decoded){0};
}
