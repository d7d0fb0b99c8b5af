#include "run/evaluate_reader.h"

#include "base/memory.h"
#include "run/decoding.h"
#include "run/stored_slots.h"
#include "text/segmenter.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const sp_context_form_names[] = {"full", "none", "compressed"};

/* Segments in one pass of the encoder. */
enum { SEGMENTS_AT_ONCE = 8 };

typedef struct context {
    size_t id_begin, n_ids; /* the decoder's, in the group's ids */
    size_t segment_begin, n_segments;
    size_t slot_begin, n_slots;
} context;

/* In the encoder's tokens, or of the slot file. */
typedef struct segment {
    size_t id_begin, n_ids;
    size_t stored;
} segment;

/* Growable arrays of a group. */
typedef struct ids {
    int32_t *items;
    size_t n, capacity;
} ids;

struct sp_context_reader {
    sp_trained trained;
    sp_stored_slots stored; /* empty: the encoder compresses */
    sp_layout layout;
    json_t *encoder_json, *decoder_json;
    sp_tokenizer *encoder_tokenizer, *decoder_tokenizer;
    sp_encoding encoding;
    context *contexts;
    size_t n_contexts, context_capacity;
    segment *segments;
    size_t *n_slots; /* [segments] */
    size_t n_segments, segment_capacity;
    ids encoder_ids, decoder_ids;
    float *memory, *slots;                     /* [slot_capacity, d] */
    size_t n_made, slot_capacity, n_all_slots; /* slots made so far, and to make */
    size_t n_encoded;                          /* segments whose slots are made */
    sp_batch batch;
    bool is_decoding; /* the batch is of prompts to go on from */
    sp_workspace workspace;
    double *nll;
    size_t nll_capacity;
};

/* ---- opening ---- */

static sp_status open_tokenizer(json_t **json, sp_tokenizer **tokenizer, const char *model) {
    SP_TRY(sp_tokenizer_json_load(json, model));
    return sp_tokenizer_create(tokenizer, *json, model);
}

sp_status sp_context_reader_open(sp_context_reader **reader, const char *checkpoint,
                                 const char *const *assignments, size_t n_assignments,
                                 sp_sides sides) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **reader, "a reader of contexts"));
    sp_context_reader *r = block;
    const sp_run_config *config = &r->trained.config;
    sp_status status = sp_trained_open(&r->trained, checkpoint, assignments, n_assignments, sides);
    if (status == SP_OK && sides != SP_SIDES_DECODER)
        status = open_tokenizer(&r->encoder_json, &r->encoder_tokenizer, config->encoder.model);
    if (status == SP_OK)
        status = open_tokenizer(&r->decoder_json, &r->decoder_tokenizer, config->decoder.model);
    if (status == SP_OK) {
        r->layout = sp_trained_layout(&r->trained);
        *reader = r;
    } else {
        sp_context_reader_close(r);
    }
    return status;
}

sp_status sp_context_reader_use_ratio(sp_context_reader *r, size_t ratio) {
    sp_context_reader_clear(r);
    SP_TRY(sp_trained_use_ratio(&r->trained, ratio));
    r->layout = sp_trained_layout(&r->trained);
    return SP_OK;
}

sp_status sp_context_reader_use_slots(sp_context_reader *r, const char *path) {
    sp_context_reader_clear(r);
    sp_stored_slots_close(&r->stored);
    return sp_stored_slots_open(&r->stored, path, &r->trained);
}

void sp_context_reader_close(sp_context_reader *r) {
    if (r == NULL) return;
    free(r->nll);
    sp_workspace_release(&r->workspace);
    sp_batch_free(&r->batch);
    free(r->slots);
    free(r->memory);
    free(r->decoder_ids.items);
    free(r->encoder_ids.items);
    free(r->n_slots);
    free(r->segments);
    free(r->contexts);
    sp_encoding_free(&r->encoding);
    sp_tokenizer_destroy(r->decoder_tokenizer);
    sp_tokenizer_destroy(r->encoder_tokenizer);
    json_decref(r->decoder_json);
    json_decref(r->encoder_json);
    sp_stored_slots_close(&r->stored);
    sp_trained_close(&r->trained);
    free(r);
}

const sp_trained *sp_context_reader_trained(const sp_context_reader *r) { return &r->trained; }

/* ---- the group's contexts ---- */

static sp_status grow(void *array, size_t n, size_t *capacity, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    void **place = array;
    void *grown = realloc(*place, 2 * n * item_bytes);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for the contexts of a group");
    *place = grown;
    *capacity = 2 * n;
    return SP_OK;
}

static sp_status encode(sp_context_reader *r, const sp_tokenizer *tokenizer, sp_answer_text text,
                        bool is_continuation) {
    return sp_tokenizer_encode(
        tokenizer, &r->encoding, text.text, text.n_bytes,
        (sp_encode_options){.specials_are_plain = true, .is_continuation = is_continuation});
}

static sp_status append_encoding(ids *list, const sp_encoding *encoding, size_t vocab_size) {
    SP_TRY(grow(&list->items, list->n + encoding->n, &list->capacity, sizeof *list->items));
    for (size_t i = 0; i < encoding->n; i++) {
        if ((size_t)encoding->ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "token id %d is beyond the model's vocabulary of %zu",
                           encoding->ids[i], vocab_size);
        list->items[list->n++] = encoding->ids[i];
    }
    return SP_OK;
}

sp_status sp_context_reader_count(sp_context_reader *r, size_t *n, sp_answer_text text) {
    SP_TRY(encode(r, r->decoder_tokenizer, text, false));
    *n = r->encoding.n;
    return SP_OK;
}

void sp_context_reader_clear(sp_context_reader *r) {
    r->n_contexts = r->n_segments = r->n_encoded = 0;
    r->encoder_ids.n = r->decoder_ids.n = 0;
    r->n_made = r->n_all_slots = 0;
}

static sp_status add_segment(sp_context_reader *r, segment made, size_t n_slots) {
    size_t capacity = r->segment_capacity;
    SP_TRY(grow(&r->segments, r->n_segments + 1, &capacity, sizeof *r->segments));
    SP_TRY(grow(&r->n_slots, r->n_segments + 1, &r->segment_capacity, sizeof *r->n_slots));
    r->segments[r->n_segments] = made;
    r->n_slots[r->n_segments++] = n_slots;
    r->n_all_slots += n_slots;
    return SP_OK;
}

/* Cuts the encoder's tokens as a token file does. */
static sp_status add_segments(sp_context_reader *r, sp_answer_text text) {
    const size_t first = r->encoder_ids.n;
    SP_TRY(encode(r, r->encoder_tokenizer, text, false));
    SP_TRY(append_encoding(&r->encoder_ids, &r->encoding,
                           r->trained.models.encoder_weights->config.vocab_size));
    for (size_t begin = 0, end; begin < r->encoding.n; begin = end) {
        end =
            sp_segment_end(&r->encoding, text.text, text.n_bytes, begin, r->layout.segment_tokens);
        SP_TRY(add_segment(r, (segment){first + begin, end - begin, 0},
                           sp_layout_n_slots(&r->layout, end - begin)));
    }
    return SP_OK;
}

static sp_status add_stored_segments(sp_context_reader *r, sp_answer_text text) {
    for (size_t at = 0, begin = 0, end = 0; at < text.n_bytes;) {
        SP_TRY(sp_stored_slots_next_text(&r->stored, text.text, text.n_bytes, &at, &begin, &end));
        for (size_t i = begin; i < end; i++) {
            size_t n_slots = 0;
            SP_TRY(sp_converted_slots_count(&r->stored.slots, i, i + 1, &n_slots));
            SP_TRY(add_segment(r, (segment){.stored = i}, n_slots));
        }
    }
    return SP_OK;
}

sp_status sp_context_reader_add(sp_context_reader *r, sp_answer_text text, size_t *index) {
    SP_TRY(grow(&r->contexts, r->n_contexts + 1, &r->context_capacity, sizeof *r->contexts));
    context made = {
        .id_begin = r->decoder_ids.n, .segment_begin = r->n_segments, .slot_begin = r->n_all_slots};
    SP_TRY(r->stored.slots.file != NULL ? add_stored_segments(r, text) : add_segments(r, text));
    SP_TRY(encode(r, r->decoder_tokenizer, text, false));
    SP_TRY(append_encoding(&r->decoder_ids, &r->encoding,
                           r->trained.models.decoder_weights->config.vocab_size));
    made.n_ids = r->decoder_ids.n - made.id_begin;
    made.n_segments = r->n_segments - made.segment_begin;
    made.n_slots = r->n_all_slots - made.slot_begin;
    *index = r->n_contexts;
    r->contexts[r->n_contexts++] = made;
    return SP_OK;
}

size_t sp_context_reader_rows(const sp_context_reader *r, size_t index, sp_context_form form) {
    const context *c = &r->contexts[index];
    if (form == SP_CONTEXT_NONE) return 0;
    if (form == SP_CONTEXT_FULL) return c->n_ids;
    return c->n_slots + sp_layout_n_boundaries(&r->layout) * c->n_segments;
}

/* ---- slots ---- */

static sp_status reserve_slots(sp_context_reader *r) {
    const sp_converter *converter = &r->trained.models.compressor->converter;
    const size_t n = r->n_all_slots > 0 ? r->n_all_slots : 1;
    if (n <= r->slot_capacity) return SP_OK;
    void *memory = NULL, *slots = NULL;
    SP_TRY(sp_alloc_array(&memory, n, converter->in.n_in * sizeof(float), "memory"));
    free(r->memory);
    r->memory = memory;
    SP_TRY(sp_alloc_array(&slots, n, converter->out.n_out * sizeof(float), "slots"));
    free(r->slots);
    r->slots = slots;
    r->slot_capacity = n;
    r->n_made = r->n_encoded = 0; /* what was there is made again */
    return SP_OK;
}

static sp_status encode_segments(sp_context_reader *r) {
    const sp_converter *converter = &r->trained.models.compressor->converter;
    float *memory = r->memory + r->n_made * converter->in.n_in;
    sp_batch_clear(&r->batch);
    for (size_t k = 0; k < SEGMENTS_AT_ONCE && r->n_encoded < r->n_segments; k++) {
        const segment *s = &r->segments[r->n_encoded++];
        SP_TRY(sp_layout_add_encoder(&r->layout, &r->batch, r->encoder_ids.items + s->id_begin,
                                     s->n_ids, 0));
    }
    SP_TRY(sp_compressor_encode(r->trained.models.compressor, &r->batch, memory, &r->workspace));
    SP_TRY(sp_compressor_convert(r->trained.models.compressor,
                                 r->slots + r->n_made * converter->out.n_out, memory,
                                 r->batch.n_taken, &r->workspace));
    r->n_made += r->batch.n_taken;
    return SP_OK;
}

static sp_status read_segment(sp_context_reader *r) {
    const size_t d = r->trained.models.compressor->converter.out.n_out;
    const size_t stored = r->segments[r->n_encoded].stored;
    SP_TRY(sp_converted_slots_read(&r->stored.slots, r->slots + r->n_made * d, stored, stored + 1));
    r->n_made += r->n_slots[r->n_encoded++];
    return SP_OK;
}

static sp_status make_slots(sp_context_reader *r, sp_context_form form) {
    SP_TRY(reserve_slots(r));
    while (form == SP_CONTEXT_COMPRESSED && r->n_encoded < r->n_segments)
        SP_TRY(r->stored.slots.file != NULL ? read_segment(r) : encode_segments(r));
    return SP_OK;
}

/* ---- the decoder's rows ---- */

static sp_status add_ids(sp_context_reader *r, const int32_t *list, size_t n) {
    for (size_t i = 0; i < n; i++) SP_TRY(sp_batch_add_row(&r->batch, SP_DECODER, list[i]));
    return SP_OK;
}

/* Appends BOS and the context to a new sequence. */
static sp_status add_prefix(sp_context_reader *r, const context *c, sp_context_form form,
                            int32_t *seq) {
    size_t slot = c->slot_begin;
    SP_TRY(sp_batch_add_seq(&r->batch, SP_DECODER, SP_NO_PARENT, 0, seq));
    if (r->layout.bos != SP_NO_TOKEN)
        SP_TRY(sp_batch_add_row(&r->batch, SP_DECODER, r->layout.bos));
    if (form == SP_CONTEXT_FULL) return add_ids(r, r->decoder_ids.items + c->id_begin, c->n_ids);
    if (form == SP_CONTEXT_NONE) return SP_OK;
    return sp_layout_add_memory(&r->layout, &r->batch, r->n_slots + c->segment_begin, c->n_segments,
                                &slot);
}

static sp_status check_encoding(const sp_context_reader *r) {
    const size_t vocab_size = r->trained.models.decoder_weights->config.vocab_size;
    for (size_t i = 0; i < r->encoding.n; i++)
        if ((size_t)r->encoding.ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "token id %d is beyond the model's vocabulary of %zu",
                           r->encoding.ids[i], vocab_size);
    return SP_OK;
}

static sp_status add_prompt(sp_context_reader *r, const sp_reading *reading, sp_context_form form) {
    const context *c = &r->contexts[reading->context];
    const bool is_continuation = form != SP_CONTEXT_NONE && c->n_ids > 0;
    const char *joint = form == SP_CONTEXT_FULL && c->n_ids > 0 ? reading->joint : "";
    const size_t joint_len = strlen(joint), n_bytes = joint_len + reading->prompt.n_bytes;
    char *text = malloc(n_bytes + 1);
    if (text == NULL) return sp_fail(SP_FAILURE, "no memory for a prompt of %zu bytes", n_bytes);
    memcpy(text, joint, joint_len);
    if (reading->prompt.n_bytes > 0)
        memcpy(text + joint_len, reading->prompt.text, reading->prompt.n_bytes);
    sp_status status =
        encode(r, r->decoder_tokenizer, (sp_answer_text){text, n_bytes}, is_continuation);
    free(text);
    if (status == SP_OK) status = check_encoding(r);
    return status == SP_OK ? add_ids(r, r->encoding.ids, r->encoding.n) : status;
}

/* ---- prefixes ---- */

/* One prefix serves readings of one context that follow each other; not where there is nothing to
   share, nor where a model reads a prefix by the length of what follows: a pass over the layers knows
   one length (decoding tells them apart). */
static bool shares_prefix(const sp_context_reader *r, const sp_reading *a, const sp_reading *b,
                          sp_context_form form) {
    return form != SP_CONTEXT_NONE && (r->is_decoding || r->layout.longrope_switch == 0) &&
           a->context == b->context && sp_context_reader_rows(r, a->context, form) > 0;
}

/* Appends BOS, the context and the prompt: as a child of *parent, the prefix that it shares with the
   reading before it or else its own, or as one sequence where there is nothing to share. *seq is where
   the prompt stands. */
static sp_status add_rows(sp_context_reader *r, const sp_reading *readings, size_t i,
                          sp_context_form form, int32_t *parent, int32_t *seq) {
    const context *c = &r->contexts[readings[i].context];
    const bool is_shared = i > 0 && shares_prefix(r, &readings[i - 1], &readings[i], form);
    if (!is_shared) SP_TRY(add_prefix(r, c, form, parent));
    *seq = *parent;
    if (shares_prefix(r, &readings[i], &readings[i], form))
        SP_TRY(sp_batch_add_seq(&r->batch, SP_DECODER, *parent, 0, seq));
    return add_prompt(r, &readings[i], form);
}

/* ---- generation ---- */

void sp_made_texts_free(sp_made_texts *made) {
    for (size_t i = 0; i < made->n; i++) free(made->texts[i]);
    free(made->texts);
    free(made->lens);
    *made = (sp_made_texts){0};
}

/* seqs [n]: where each reading's prompt stands. */
static sp_status decode_texts(sp_context_reader *r, const sp_decoded *decoded, const int32_t *seqs,
                              size_t n, sp_made_texts *made) {
    const sp_decode_options options = {.skips_special = true, .is_continuation = true};
    void *texts = NULL, *lens = NULL;
    SP_TRY(sp_alloc_array(&texts, n, sizeof *made->texts, "what was generated"));
    made->texts = texts;
    SP_TRY(sp_alloc_array(&lens, n, sizeof *made->lens, "what was generated"));
    made->lens = lens;
    for (; made->n < n; made->n++)
        SP_TRY(sp_tokenizer_decode(r->decoder_tokenizer, &made->texts[made->n],
                                   &made->lens[made->n], decoded->ids[seqs[made->n]],
                                   decoded->lens[seqs[made->n]], options));
    return SP_OK;
}

static sp_status generate(sp_context_reader *r, sp_context_form form, const sp_reading *readings,
                          int32_t *seqs, size_t n, size_t max_new_tokens, sp_made_texts *made) {
    const sp_decoding_limits limits = sp_models_decoding_limits(&r->trained.models, max_new_tokens);
    sp_decoded decoded = {0};
    int32_t parent = 0;
    SP_TRY(make_slots(r, form));
    sp_batch_clear(&r->batch);
    r->is_decoding = true;
    for (size_t i = 0; i < n; i++) SP_TRY(add_rows(r, readings, i, form, &parent, &seqs[i]));
    sp_status status = sp_decode_greedily(&decoded, r->trained.models.compressor->decoder,
                                          &r->batch.rows[SP_DECODER], r->slots, &limits);
    if (status == SP_OK) status = decode_texts(r, &decoded, seqs, n, made);
    sp_decoded_free(&decoded);
    return status;
}

sp_status sp_context_reader_generate(sp_context_reader *r, sp_context_form form,
                                     const sp_reading *readings, size_t n, size_t max_new_tokens,
                                     sp_made_texts *made) {
    sp_made_texts texts = {0};
    void *seqs = NULL;
    SP_TRY(sp_alloc_array(&seqs, n, sizeof(int32_t), "readings"));
    const sp_status status = generate(r, form, readings, seqs, n, max_new_tokens, &texts);
    free(seqs);
    if (status == SP_OK)
        *made = texts;
    else
        sp_made_texts_free(&texts);
    return status;
}

/* ---- scores ---- */

/* Appends a reading and its target to the batch. */
static sp_status add_reading(sp_context_reader *r, const sp_reading *readings, size_t i,
                             sp_context_form form, int32_t *parent, size_t *n_tokens) {
    const sp_reading *reading = &readings[i];
    int32_t seq = 0;
    SP_TRY(add_rows(r, readings, i, form, parent, &seq));
    SP_TRY(encode(r, r->decoder_tokenizer, reading->target, true));
    SP_TRY(check_encoding(r));
    *n_tokens = 0;
    for (size_t k = 0; k < r->encoding.n; k++, ++*n_tokens) {
        sp_batch_set_target(&r->batch, SP_DECODER, seq, r->encoding.ids[k], SP_RECONSTRUCTION);
        SP_TRY(sp_batch_add_row(&r->batch, SP_DECODER, r->encoding.ids[k]));
    }
    if (reading->has_end && r->layout.eos != SP_NO_TOKEN) {
        sp_batch_set_target(&r->batch, SP_DECODER, seq, r->layout.eos, SP_RECONSTRUCTION);
        ++*n_tokens;
    }
    return SP_OK;
}

static sp_status run_decoder(sp_context_reader *r, size_t n_targets) {
    sp_compressor *c = r->trained.models.compressor;
    const size_t begin = c->encoder_end + 1;
    SP_TRY(grow(&r->nll, n_targets, &r->nll_capacity, sizeof *r->nll));
    r->batch.n_taken = r->n_all_slots; /* rows that the decoder may be given */
    r->batch.target_nll = r->nll;
    sp_status status =
        sp_compressor_reserve(c, &r->batch, begin, c->chain.n_blocks, NULL, &r->workspace);
    if (status == SP_OK)
        (void)sp_chain_run(&c->chain, begin, c->chain.n_blocks, &r->batch, r->slots, &r->workspace);
    r->batch.n_taken = 0;
    r->batch.target_nll = NULL;
    return status;
}

sp_status sp_context_reader_score(sp_context_reader *r, sp_context_form form,
                                  const sp_reading *readings, size_t n, sp_target_score *scores) {
    size_t n_targets = 0;
    int32_t parent = 0;
    SP_TRY(make_slots(r, form));
    sp_batch_clear(&r->batch);
    r->is_decoding = false;
    for (size_t i = 0; i < n; i++) {
        SP_TRY(add_reading(r, readings, i, form, &parent, &scores[i].n_tokens));
        n_targets += scores[i].n_tokens;
    }
    SP_TRY(run_decoder(r, n_targets));
    const double *nll = r->nll;
    for (size_t i = 0; i < n; i++) {
        scores[i].nll = 0;
        for (size_t k = 0; k < scores[i].n_tokens; k++) scores[i].nll += *nll++;
        if (!isfinite(scores[i].nll))
            return sp_fail(SP_NUMERIC, "the score of a text is not finite");
    }
    return SP_OK;
}
