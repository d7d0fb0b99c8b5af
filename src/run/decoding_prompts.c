#include "run/decoding_parts.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void sp_decoding_seq_free(sp_decoding_seq *s) {
    free(s->x);
    free(s->ids);
    free(s);
}

/* A parent and its children, or one that is alone: sequences [first, end) of prompts. */
typedef struct family {
    const sp_rows *prompts;
    size_t first, end;
    float *x;                     /* [n_rows, d_model] of all of them, owned */
    sp_decoding_seq *prefixes[2]; /* for children that are, or are not, long; borrowed from these */
} family;

size_t sp_decoding_family_end(const sp_rows *prompts, size_t first) {
    size_t end = first + 1;
    while (end < prompts->n_seqs && prompts->seqs[end].parent >= 0) end++;
    return end;
}

/* Rows that a sequence may come to: its prompt's, then all new ones, as far as the model has
   positions. */
static size_t most_rows(const sp_decoding *d, size_t prompt_len, size_t max_new_tokens) {
    const sp_model_config *c = &d->transformer->weights->config;
    const size_t most = prompt_len + max_new_tokens;
    if (!c->family->has_learned_positions || most <= c->max_positions) return most;
    return prompt_len > c->max_positions ? prompt_len : c->max_positions;
}

static sp_status embed(sp_decoding *d, family *f, const float *slots) {
    const sp_attention_seq *first = &f->prompts->seqs[f->first],
                           *last = first + (f->end - f->first - 1);
    const size_t begin = first->begin, n = last->begin + last->len - begin;
    const sp_embed_rows rows = {f->prompts->ids + begin, f->prompts->positions + begin, n, slots};
    const sp_embedding *embedding = &d->transformer->embedding;
    void *x = NULL;
    SP_TRY(sp_alloc_array(&x, n, embedding->d_model * sizeof(float), "prompts"));
    f->x = x;
    SP_TRY(sp_arena_reserve(&d->arena, sp_embed_scratch_bytes(embedding, n), "decoding"));
    sp_embed(embedding, f->x, &rows, &d->arena);
    return SP_OK;
}

/* Makes a sequence of the rows of one or two of the prompts. */
static sp_status make_sequence(sp_decoding_seq **made, const sp_decoding *d, const family *f,
                               const sp_attention_seq *const seqs[2]) {
    const size_t row_bytes = d->transformer->weights->config.d_model * sizeof(float);
    const size_t before = f->prompts->seqs[f->first].begin;
    void *block = NULL, *x = NULL;
    SP_TRY(sp_alloc(&block, sizeof(sp_decoding_seq), "a prompt"));
    sp_decoding_seq *s = block;
    for (size_t i = 0; i < 2; i++) s->n_rows += seqs[i] != NULL ? seqs[i]->len : 0;
    const sp_status status = sp_alloc_array(&x, s->n_rows, row_bytes, "a prompt");
    if (status != SP_OK) {
        free(s);
        return status;
    }
    s->x = x;
    char *to = x;
    for (size_t i = 0; i < 2; i++) {
        if (seqs[i] == NULL) continue;
        memcpy(to, (const char *)f->x + (seqs[i]->begin - before) * row_bytes,
               seqs[i]->len * row_bytes);
        to += seqs[i]->len * row_bytes;
    }
    *made = s;
    return SP_OK;
}

static sp_status find_prefix(sp_decoding_seq **prefix, const sp_decoding *d, family *f,
                             bool is_long) {
    const sp_attention_seq *rows[2] = {&f->prompts->seqs[f->first], NULL};
    if (f->prefixes[is_long] == NULL) {
        SP_TRY(make_sequence(&f->prefixes[is_long], d, f, rows));
        f->prefixes[is_long]->is_long = is_long;
    }
    *prefix = f->prefixes[is_long];
    return SP_OK;
}

static void wait_for_turn(sp_decoding *d, sp_decoding_seq *s) {
    if (s->limits.max_new_tokens == 0) {
        s->next = d->ended;
        d->ended = s;
        return;
    }
    *d->waiting_end = s;
    d->waiting_end = &s->next;
    d->n_waiting++;
}

/* A child without rows of its own goes on from its prefix's last, and so reads it itself. */
static sp_status add_prompt(sp_decoding *d, family *f, size_t index,
                            const sp_decoding_limits *limits) {
    const sp_attention_seq *own = &f->prompts->seqs[index];
    const sp_attention_seq *parent = index > f->first ? &f->prompts->seqs[f->first] : NULL;
    const size_t len = own->len + (parent != NULL ? parent->len : 0);
    const size_t most = most_rows(d, len, limits->max_new_tokens);
    const bool is_long = most > sp_longrope_switch(&d->transformer->weights->config);
    const bool shares =
        parent != NULL && parent->len > 0 && own->len > 0 && limits->max_new_tokens > 0;
    if (len == 0) return sp_fail(SP_BAD_DATA, "a prompt without a token has nothing to go on from");
    SP_TRY(sp_transformer_reserve(d->transformer, most));
    const sp_attention_seq *rows[2] = {shares ? NULL : parent, own};
    sp_decoding_seq *prefix = NULL, *s = NULL;
    void *ids = NULL;
    if (shares) SP_TRY(find_prefix(&prefix, d, f, is_long));
    SP_TRY(make_sequence(&s, d, f, rows));
    const sp_status status =
        sp_alloc_array(&ids, limits->max_new_tokens, sizeof *s->ids, "decoded tokens");
    if (status != SP_OK) {
        sp_decoding_seq_free(s);
        return status;
    }
    s->ids = ids;
    s->prefix = prefix;
    if (prefix != NULL) prefix->n_children++;
    s->number = d->n_added + index;
    s->limits = *limits;
    s->most_rows = most;
    s->is_long = is_long;
    wait_for_turn(d, s);
    return SP_OK;
}

sp_status sp_decoding_add_family(sp_decoding *d, const sp_rows *prompts, size_t first,
                                 const float *slots, const sp_decoding_limits *limits) {
    family f = {.prompts = prompts, .first = first, .end = sp_decoding_family_end(prompts, first)};
    const bool is_alone = f.end == first + 1;
    sp_status status = embed(d, &f, slots);
    for (size_t i = is_alone ? first : first + 1; status == SP_OK && i < f.end; i++)
        status = add_prompt(d, &f, i, limits);
    for (size_t i = 0; i < 2; i++)
        if (f.prefixes[i] != NULL && f.prefixes[i]->n_children == 0)
            sp_decoding_seq_free(f.prefixes[i]);
    free(f.x);
    return status;
}

sp_status sp_decoding_add(sp_decoding *d, const sp_rows *prompts, const float *slots,
                          const sp_decoding_limits *limits) {
    for (size_t first = 0; first < prompts->n_seqs; first = sp_decoding_family_end(prompts, first))
        SP_TRY(sp_decoding_add_family(d, prompts, first, slots, limits));
    d->n_added += prompts->n_seqs;
    return SP_OK;
}
