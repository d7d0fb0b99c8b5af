#include "run/decoding.h"

#include "base/memory.h"
#include "model/kv_cache.h"
#include "tensor/argmax.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Rows of prompts in one pass: products are at full speed, and activations stay small however long a
   prompt is. A longer one is read in pieces of so many, wherever it stands among others, so that
   these are always the same. */
enum { PROMPT_ROWS = 512 };

/* A prompt, or the prefix of some. */
typedef struct sequence {
    struct sequence *next;   /* in its list */
    struct sequence *prefix; /* or NULL */
    size_t n_children;       /* of a prefix: that have not ended */
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
} sequence;

struct sp_decoding {
    sp_transformer *transformer;
    sp_kv_cache cache;
    sequence *waiting, **waiting_end, *ended;
    size_t n_waiting, n_added;
    sequence **active; /* [most_at_once], the first n_active going on */
    size_t n_active, most_at_once;
    sp_arena arena;
    /* The present pass. */
    sequence **readers; /* [2 most_at_once] whose rows they are, in order */
    sp_extension *extensions;
    size_t n_readers, n_rows, n_chosen;
    int32_t *tokens;     /* [most_at_once] of those that are past their prompts, which come first */
    uint32_t *positions; /* [most_at_once] */
    size_t n_tokens;
    float *x, *logits;
    size_t x_capacity, logits_capacity; /* rows */
};

static void free_sequence(sequence *s) {
    free(s->x);
    free(s->ids);
    free(s);
}

static void free_list(sequence *list) {
    for (sequence *s = list, *next; s != NULL; s = next) {
        next = s->next;
        if (s->prefix != NULL && --s->prefix->n_children == 0) free_sequence(s->prefix);
        free_sequence(s);
    }
}

static sp_status allocate(sp_decoding *d) {
    const size_t n = d->most_at_once;
    void *active = NULL, *readers = NULL, *extensions = NULL, *tokens = NULL, *positions = NULL;
    SP_TRY(sp_alloc_array(&active, n, sizeof(sequence *), "decoding"));
    d->active = active;
    SP_TRY(sp_alloc_array(&readers, 2 * n, sizeof(sequence *), "decoding"));
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

/* ---- adding prompts ---- */

/* A parent and its children, or one that is alone: sequences [first, end) of prompts. */
typedef struct family {
    const sp_rows *prompts;
    size_t first, end;
    float *x;              /* [n_rows, d_model] of all of them, owned */
    sequence *prefixes[2]; /* for children that are, or are not, long; borrowed from these */
} family;

static size_t family_end(const sp_rows *prompts, size_t first) {
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
static sp_status make_sequence(sequence **made, const sp_decoding *d, const family *f,
                               const sp_attention_seq *const seqs[2]) {
    const size_t row_bytes = d->transformer->weights->config.d_model * sizeof(float);
    const size_t before = f->prompts->seqs[f->first].begin;
    void *block = NULL, *x = NULL;
    SP_TRY(sp_alloc(&block, sizeof(sequence), "a prompt"));
    sequence *s = block;
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

static sp_status find_prefix(sequence **prefix, const sp_decoding *d, family *f, bool is_long) {
    const sp_attention_seq *rows[2] = {&f->prompts->seqs[f->first], NULL};
    if (f->prefixes[is_long] == NULL) {
        SP_TRY(make_sequence(&f->prefixes[is_long], d, f, rows));
        f->prefixes[is_long]->is_long = is_long;
    }
    *prefix = f->prefixes[is_long];
    return SP_OK;
}

static void wait_for_turn(sp_decoding *d, sequence *s) {
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
    sequence *prefix = NULL, *s = NULL;
    void *ids = NULL;
    if (shares) SP_TRY(find_prefix(&prefix, d, f, is_long));
    SP_TRY(make_sequence(&s, d, f, rows));
    const sp_status status =
        sp_alloc_array(&ids, limits->max_new_tokens, sizeof *s->ids, "decoded tokens");
    if (status != SP_OK) {
        free_sequence(s);
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

static sp_status add_family(sp_decoding *d, const sp_rows *prompts, size_t first,
                            const float *slots, const sp_decoding_limits *limits) {
    family f = {.prompts = prompts, .first = first, .end = family_end(prompts, first)};
    const bool is_alone = f.end == first + 1;
    sp_status status = embed(d, &f, slots);
    for (size_t i = is_alone ? first : first + 1; status == SP_OK && i < f.end; i++)
        status = add_prompt(d, &f, i, limits);
    for (size_t i = 0; i < 2; i++)
        if (f.prefixes[i] != NULL && f.prefixes[i]->n_children == 0) free_sequence(f.prefixes[i]);
    free(f.x);
    return status;
}

sp_status sp_decoding_add(sp_decoding *d, const sp_rows *prompts, const float *slots,
                          const sp_decoding_limits *limits) {
    for (size_t first = 0; first < prompts->n_seqs; first = family_end(prompts, first))
        SP_TRY(add_family(d, prompts, first, slots, limits));
    d->n_added += prompts->n_seqs;
    return SP_OK;
}

/* ---- a pass ---- */

static sp_status open_in_cache(sp_decoding *d, sequence *s) {
    if (s->is_open) return SP_OK;
    const ptrdiff_t parent = s->prefix != NULL ? (ptrdiff_t)s->prefix->seq : -1;
    SP_TRY(sp_kv_cache_open(&d->cache, &s->seq, parent, s->is_long));
    s->is_open = true;
    return SP_OK;
}

static sp_status admit(sp_decoding *d) {
    while (d->n_active < d->most_at_once && d->waiting != NULL) {
        sequence *s = d->waiting;
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

static bool is_read(const sequence *s) { return s->n_read + s->n_in_pass >= s->n_rows; }

static void add_reader(sp_decoding *d, sequence *s, size_t n_rows) {
    d->readers[d->n_readers] = s;
    d->extensions[d->n_readers++] = (sp_extension){s->seq, n_rows};
    s->n_in_pass = n_rows;
    d->n_rows += n_rows;
}

/* Those that are past their prompts read the token that they came to. */
static void add_tokens(sp_decoding *d) {
    for (size_t i = 0; i < d->n_active; i++) {
        sequence *s = d->active[i];
        if (s->n_ids == 0) continue;
        const sp_kv_seq *seq = &d->cache.seqs[s->seq];
        d->tokens[d->n_tokens] = s->ids[s->n_ids - 1];
        d->positions[d->n_tokens++] = (uint32_t)(seq->begin + seq->len);
        add_reader(d, s, 1);
    }
}

/* Adds a piece of a prompt that is still to be read; false: there is no room for it. */
static bool add_piece(sp_decoding *d, sequence *s, size_t *n_prompt_rows) {
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
        sequence *s = d->active[i];
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
        const sequence *s = d->readers[i];
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
        const sequence *s = d->readers[i];
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
        sequence *s = d->readers[i];
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
static bool take_token(const sp_decoding *d, sequence *s, int32_t id) {
    if (stops(&s->limits, id)) return true;
    s->ids[s->n_ids++] = id;
    const sp_kv_seq *seq = &d->cache.seqs[s->seq];
    return s->n_ids == s->limits.max_new_tokens || seq->begin + seq->len == s->most_rows;
}

static void end(sp_decoding *d, sequence *s) {
    sequence *prefix = s->prefix;
    sp_kv_cache_close(&d->cache, s->seq);
    s->is_open = false;
    s->prefix = NULL;
    s->next = d->ended;
    d->ended = s;
    if (prefix == NULL || --prefix->n_children > 0) return;
    sp_kv_cache_close(&d->cache, prefix->seq);
    free_sequence(prefix);
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
    sequence *s = d->ended;
    if (s == NULL) return false;
    d->ended = s->next;
    *continuation = (sp_continuation){.number = s->number, .ids = s->ids, .n = s->n_ids};
    s->ids = NULL;
    free_sequence(s);
    return true;
}

/* ---- all at once ---- */

static sp_status decode_all(sp_decoding *d, sp_decoded *decoded, const sp_rows *prompts,
                            const float *slots, const sp_decoding_limits *limits) {
    size_t first = 0;
    while (first < prompts->n_seqs || sp_decoding_n_going(d) > 0) {
        for (; first < prompts->n_seqs && d->n_waiting < d->most_at_once;
             first = family_end(prompts, first))
            SP_TRY(add_family(d, prompts, first, slots, limits));
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
