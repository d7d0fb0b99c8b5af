#include "run/decoding.h"

#include "base/memory.h"
#include "run/decoding_parts.h"
#include "run/stop_signal.h"
#include "tensor/argmax.h"

#include <stdlib.h>
#include <string.h>

/* Rows of prompts in one pass: products are at full speed, and activations stay small however long a
   prompt is. A longer one is read in pieces of so many, wherever it stands among others, so that
   these are always the same. */
enum { PROMPT_ROWS = 512 };

static void free_list(sp_decoding_seq *list) {
    for (sp_decoding_seq *s = list, *next; s != NULL; s = next) {
        next = s->next;
        if (s->prefix != NULL && --s->prefix->n_children == 0) sp_decoding_seq_free(s->prefix);
        sp_decoding_seq_free(s);
    }
}

static sp_status allocate(sp_decoding *d) {
    const size_t n = d->most_at_once;
    void *active = NULL, *readers = NULL, *extensions = NULL, *tokens = NULL, *positions = NULL;
    SP_TRY(sp_alloc_array(&active, n, sizeof(sp_decoding_seq *), "decoding"));
    d->active = active;
    SP_TRY(sp_alloc_array(&readers, 2 * n, sizeof(sp_decoding_seq *), "decoding"));
    d->readers = readers;
    SP_TRY(sp_alloc_array(&extensions, 2 * n, sizeof *d->extensions, "decoding"));
    d->extensions = extensions;
    SP_TRY(sp_alloc_array(&tokens, n, sizeof *d->tokens, "decoding"));
    d->tokens = tokens;
    SP_TRY(sp_alloc_array(&positions, n, sizeof *d->positions, "decoding"));
    d->positions = positions;
    return SP_OK;
}

sp_status sp_decoding_create(sp_decoding **decoding, sp_transformer *transformer,
                             size_t most_at_once) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof(sp_decoding), "decoding"));
    sp_decoding *d = block;
    d->transformer = transformer;
    d->most_at_once = most_at_once;
    d->waiting_end = &d->waiting;
    sp_kv_cache_init(&d->cache, transformer);
    const sp_status status = allocate(d);
    if (status != SP_OK)
        sp_decoding_destroy(d);
    else
        *decoding = d;
    return status;
}

void sp_decoding_destroy(sp_decoding *d) {
    if (d == NULL) return;
    for (size_t i = 0; i < d->n_active; i++) {
        d->active[i]->next = d->waiting;
        d->waiting = d->active[i];
    }
    free_list(d->waiting);
    free_list(d->ended);
    sp_kv_cache_release(&d->cache);
    sp_arena_release(&d->arena);
    free(d->active);
    free(d->readers);
    free(d->extensions);
    free(d->tokens);
    free(d->positions);
    free(d->x);
    free(d->logits);
    free(d);
}

size_t sp_decoding_n_waiting(const sp_decoding *d) { return d->n_waiting; }

size_t sp_decoding_n_going(const sp_decoding *d) { return d->n_active + d->n_waiting; }

/* ---- a pass ---- */

static sp_status open_in_cache(sp_decoding *d, sp_decoding_seq *s) {
    if (s->is_open) return SP_OK;
    const ptrdiff_t parent = s->prefix != NULL ? (ptrdiff_t)s->prefix->seq : -1;
    SP_TRY(sp_kv_cache_open(&d->cache, &s->seq, parent, s->is_long));
    s->is_open = true;
    return SP_OK;
}

static sp_status admit(sp_decoding *d) {
    while (d->n_active < d->most_at_once && d->waiting != NULL) {
        sp_decoding_seq *s = d->waiting;
        if (s->prefix != NULL) SP_TRY(open_in_cache(d, s->prefix));
        SP_TRY(open_in_cache(d, s));
        d->waiting = s->next;
        if (d->waiting == NULL) d->waiting_end = &d->waiting;
        s->next = NULL;
        d->n_waiting--;
        d->active[d->n_active++] = s;
    }
    return SP_OK;
}

static bool is_read(const sp_decoding_seq *s) { return s->n_read + s->n_in_pass >= s->n_rows; }

static void add_reader(sp_decoding *d, sp_decoding_seq *s, size_t n_rows) {
    d->readers[d->n_readers] = s;
    d->extensions[d->n_readers++] = (sp_extension){s->seq, n_rows};
    s->n_in_pass = n_rows;
    d->n_rows += n_rows;
}

/* Those that are past their prompts read the token that they came to. */
static void add_tokens(sp_decoding *d) {
    for (size_t i = 0; i < d->n_active; i++) {
        sp_decoding_seq *s = d->active[i];
        if (s->n_ids == 0) continue;
        const sp_kv_seq *seq = &d->cache.seqs[s->seq];
        d->tokens[d->n_tokens] = s->ids[s->n_ids - 1];
        d->positions[d->n_tokens++] = (uint32_t)(seq->begin + seq->len);
        add_reader(d, s, 1);
    }
}

/* Adds a piece of a prompt that is still to be read; false: there is no room for it. */
static bool add_piece(sp_decoding *d, sp_decoding_seq *s, size_t *n_prompt_rows) {
    const size_t left = s->n_rows - s->n_read, n = left < PROMPT_ROWS ? left : PROMPT_ROWS;
    if (*n_prompt_rows > 0 && *n_prompt_rows + n > PROMPT_ROWS) return false;
    *n_prompt_rows += n;
    add_reader(d, s, n);
    return true;
}

/* A prefix goes before its children, which wait until it is read. */
static void add_prompts(sp_decoding *d) {
    size_t n_prompt_rows = 0;
    for (size_t i = 0; i < d->n_active; i++) {
        sp_decoding_seq *s = d->active[i];
        if (s->n_ids > 0) continue;
        if (s->prefix != NULL && !is_read(s->prefix)) {
            if (s->prefix->n_in_pass > 0) continue;
            if (!add_piece(d, s->prefix, &n_prompt_rows)) return;
            if (!is_read(s->prefix)) continue;
        }
        if (!add_piece(d, s, &n_prompt_rows)) return;
    }
}

static sp_status grow(float **rows, size_t *capacity, size_t n_rows, size_t width) {
    if (n_rows <= *capacity) return SP_OK;
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n_rows, width * sizeof(float), "decoding"));
    free(*rows);
    *rows = block;
    *capacity = n_rows;
    return SP_OK;
}

static size_t greater(size_t a, size_t b) { return a > b ? a : b; }

static sp_status make_room(sp_decoding *d) {
    const sp_model_config *c = &d->transformer->weights->config;
    size_t n_keys = 0, n_chosen = 0;
    for (size_t i = 0; i < d->n_readers; i++) {
        const sp_decoding_seq *s = d->readers[i];
        SP_TRY(sp_kv_cache_reserve(&d->cache, s->seq, s->n_in_pass));
        n_keys += s->most_rows + s->n_rows;
        n_chosen += s->ids != NULL;
    }
    SP_TRY(grow(&d->x, &d->x_capacity, d->n_rows, c->d_model));
    SP_TRY(grow(&d->logits, &d->logits_capacity, n_chosen, c->vocab_size));
    const size_t extend = sp_extend_scratch_bytes(d->transformer, d->n_rows, d->n_readers, n_keys);
    const size_t embed_bytes = sp_embed_scratch_bytes(&d->transformer->embedding, d->n_tokens);
    return sp_arena_reserve(&d->arena, greater(extend, embed_bytes), "decoding");
}

static void fill_rows(sp_decoding *d) {
    const size_t d_model = d->transformer->weights->config.d_model;
    sp_embed(&d->transformer->embedding, d->x,
             &(sp_embed_rows){d->tokens, d->positions, d->n_tokens, NULL}, &d->arena);
    float *to = d->x + d->n_tokens * d_model;
    for (size_t i = d->n_tokens; i < d->n_readers; i++) {
        const sp_decoding_seq *s = d->readers[i];
        memcpy(to, s->x + s->n_read * d_model, s->n_in_pass * d_model * sizeof *to);
        to += s->n_in_pass * d_model;
    }
}

/* Puts the last rows of those that are past their prompts now in front; the others' are no more
   needed. These stay the readers. */
static void keep_last_rows(sp_decoding *d) {
    const size_t d_model = d->transformer->weights->config.d_model;
    size_t n = 0, row = 0;
    for (size_t i = 0; i < d->n_readers; i++) {
        sp_decoding_seq *s = d->readers[i];
        row += s->n_in_pass;
        if (s->n_ids == 0) s->n_read += s->n_in_pass;
        s->n_in_pass = 0;
        if (s->n_read < s->n_rows) continue;
        free(s->x);
        s->x = NULL;
        if (s->ids == NULL) continue; /* a prefix */
        memmove(d->x + n * d_model, d->x + (row - 1) * d_model, d_model * sizeof *d->x);
        d->readers[n++] = s;
    }
    d->n_readers = n;
}

static bool stops(const sp_decoding_limits *limits, int32_t id) {
    for (size_t i = 0; i < limits->n_stop_ids; i++)
        if (limits->stop_ids[i] == id) return true;
    return id == limits->eos;
}

/* Takes the next token; returns whether the sequence ends with it, or before it. */
static bool take_token(const sp_decoding *d, sp_decoding_seq *s, int32_t id) {
    if (stops(&s->limits, id)) return true;
    s->ids[s->n_ids++] = id;
    const sp_kv_seq *seq = &d->cache.seqs[s->seq];
    return s->n_ids == s->limits.max_new_tokens || seq->begin + seq->len == s->most_rows;
}

static void end(sp_decoding *d, sp_decoding_seq *s) {
    sp_decoding_seq *prefix = s->prefix;
    sp_kv_cache_close(&d->cache, s->seq);
    s->is_open = false;
    s->prefix = NULL;
    s->next = d->ended;
    d->ended = s;
    if (prefix == NULL || --prefix->n_children > 0) return;
    sp_kv_cache_close(&d->cache, prefix->seq);
    sp_decoding_seq_free(prefix);
}

static void choose(sp_decoding *d) {
    const size_t n = d->n_readers, vocab_size = d->transformer->weights->config.vocab_size;
    if (n == 0) return;
    sp_transformer_logits(d->transformer, d->logits, d->x, n, &d->arena);
    size_t *chosen = sp_arena_push(&d->arena, n * sizeof *chosen);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) chosen[i] = sp_argmax(d->logits + i * vocab_size, vocab_size);
    d->arena.used = 0;
    for (size_t i = 0; i < n; i++)
        if (take_token(d, d->readers[i], (int32_t)chosen[i])) end(d, d->readers[i]);
    size_t n_left = 0;
    for (size_t i = 0; i < d->n_active; i++)
        if (d->active[i]->is_open) d->active[n_left++] = d->active[i];
    d->n_active = n_left;
}

sp_status sp_decoding_step(sp_decoding *d) {
    d->n_readers = d->n_rows = d->n_tokens = 0;
    SP_TRY(admit(d));
    if (d->n_active == 0) return SP_OK;
    add_tokens(d);
    add_prompts(d);
    SP_TRY(make_room(d));
    fill_rows(d);
    sp_transformer_extend(d->transformer, &d->cache, d->x, d->extensions, d->n_readers, &d->arena);
    keep_last_rows(d);
    choose(d);
    return SP_OK;
}

bool sp_decoding_take(sp_decoding *d, sp_continuation *continuation) {
    sp_decoding_seq *s = d->ended;
    if (s == NULL) return false;
    d->ended = s->next;
    *continuation = (sp_continuation){.number = s->number, .ids = s->ids, .n = s->n_ids};
    s->ids = NULL;
    sp_decoding_seq_free(s);
    return true;
}

/* ---- all at once ---- */

static sp_status decode_all(sp_decoding *d, sp_decoded *decoded, const sp_rows *prompts,
                            const float *slots, const sp_decoding_limits *limits) {
    size_t first = 0;
    while (first < prompts->n_seqs || sp_decoding_n_going(d) > 0) {
        for (; first < prompts->n_seqs && d->n_waiting < d->most_at_once;
             first = sp_decoding_family_end(prompts, first))
            SP_TRY(sp_decoding_add_family(d, prompts, first, slots, limits));
        if (sp_stop_signal_seen())
            return sp_fail(SP_STOPPED, "stopped by a signal; the same command goes on");
        SP_TRY(sp_decoding_step(d));
        sp_continuation continuation;
        while (sp_decoding_take(d, &continuation)) {
            decoded->ids[continuation.number] = continuation.ids;
            decoded->lens[continuation.number] = continuation.n;
        }
    }
    return SP_OK;
}

sp_status sp_decode_greedily(sp_decoded *decoded, sp_transformer *transformer,
                             const sp_rows *prompts, const float *slots,
                             const sp_decoding_limits *limits) {
    sp_decoded made = {.n_seqs = prompts->n_seqs};
    sp_decoding *d = NULL;
    void *ids = NULL, *lens = NULL;
    sp_status status = sp_alloc_array(&ids, prompts->n_seqs, sizeof *made.ids, "decoded tokens");
    made.ids = ids;
    if (status == SP_OK)
        status = sp_alloc_array(&lens, prompts->n_seqs, sizeof *made.lens, "decoded tokens");
    made.lens = lens;
    if (status == SP_OK) status = sp_decoding_create(&d, transformer, SP_DECODING_AT_ONCE);
    if (status == SP_OK) status = decode_all(d, &made, prompts, slots, limits);
    if (status == SP_OK) {
        *decoded = made;
        made = (sp_decoded){0};
    }
    sp_decoding_destroy(d);
    sp_decoded_free(&made);
    return status;
}

void sp_decoded_free(sp_decoded *decoded) {
    for (size_t s = 0; s < decoded->n_seqs; s++)
        if (decoded->ids != NULL) free(decoded->ids[s]);
    free(decoded->ids);
    free(decoded->lens);
    *decoded = (sp_decoded){0};
}
