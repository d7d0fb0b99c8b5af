#include "run/generate.h"

#include "base/memory.h"
#include "run/converted_slots.h"
#include "run/decoding.h"
#include "run/trained.h"
#include "text/json_text.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Segments that are reconstructed in one pass: bounds the cache's memory for a long document. */
enum { SEGMENTS_AT_ONCE = 16 };

typedef struct generation {
    const sp_generate_job *job;
    sp_trained trained;
    json_t *tokenizer_json;
    sp_tokenizer *tokenizer;
    sp_converted_slots memory;
    size_t segment_begin, segment_end;
    float *slots; /* [slots of the document, d_dec] */
    sp_batch prompts;
    int32_t *stop_ids; /* of a chat: the model's, and the end of the turn; owned */
    int32_t *ids;      /* what was generated, owned */
    size_t n_ids;
} generation;

static sp_status open_slots(generation *g) {
    SP_TRY(sp_converted_slots_open(&g->memory, g->job->memory, &g->trained));
    return sp_slots_find_document(g->memory.file, g->job->document, &g->segment_begin,
                                  &g->segment_end);
}

static sp_status read_slots(generation *g) {
    const size_t n = sp_converted_slots_count(&g->memory, g->segment_begin, g->segment_end);
    const size_t d = g->trained.models.compressor->converter.out.n_out;
    void *slots = NULL;
    SP_TRY(sp_alloc_array(&slots, n, d * sizeof *g->slots, "slots"));
    g->slots = slots;
    return sp_converted_slots_read(&g->memory, g->slots, g->segment_begin, g->segment_end);
}

static sp_status append_ids(generation *g, const int32_t *ids, size_t n) {
    if (n == 0) return SP_OK;
    int32_t *grown = realloc(g->ids, (g->n_ids + n) * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu tokens", g->n_ids + n);
    g->ids = grown;
    memcpy(g->ids + g->n_ids, ids, n * sizeof *ids);
    g->n_ids += n;
    return SP_OK;
}

static sp_status decode_prompts(generation *g, const sp_decoding_limits *limits) {
    sp_decoded decoded = {0};
    sp_status status = sp_decode_greedily(&decoded, g->trained.models.compressor->decoder,
                                          &g->prompts.rows[SP_DECODER], g->slots, limits);
    for (size_t s = 0; status == SP_OK && s < decoded.n_seqs; s++)
        status = append_ids(g, decoded.ids[s], decoded.lens[s]);
    sp_decoded_free(&decoded);
    return status;
}

static sp_status reconstruct(generation *g) {
    const sp_layout layout = sp_trained_layout(&g->trained);
    const sp_decoding_limits limits =
        sp_models_decoding_limits(&g->trained.models, g->job->max_new_tokens);
    size_t slot = 0;
    for (size_t begin = g->segment_begin; begin < g->segment_end; begin += SEGMENTS_AT_ONCE) {
        sp_batch_clear(&g->prompts);
        for (size_t i = begin; i < g->segment_end && i < begin + SEGMENTS_AT_ONCE; i++) {
            const sp_slots_segment segment = sp_slots_get_segment(g->memory.file, i);
            SP_TRY(
                sp_layout_add_reconstruction_prompt(&layout, &g->prompts, segment.n_slots, &slot));
        }
        SP_TRY(decode_prompts(g, &limits));
    }
    return SP_OK;
}

static sp_status add_memory(generation *g) {
    const size_t n = g->segment_end - g->segment_begin;
    void *counts = NULL;
    SP_TRY(sp_alloc_array(&counts, n, sizeof(size_t), "segments"));
    size_t *n_slots = counts, slot = 0;
    for (size_t i = 0; i < n; i++)
        n_slots[i] = sp_slots_get_segment(g->memory.file, g->segment_begin + i).n_slots;
    const sp_status status = sp_layout_add_memory(&g->prompts, n_slots, n, &slot);
    free(counts);
    return status;
}

static sp_status add_ids(generation *g, const sp_encoding *encoding) {
    const size_t vocab_size = g->trained.models.decoder_weights->config.vocab_size;
    for (size_t i = 0; i < encoding->n; i++) {
        if ((size_t)encoding->ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "the prompt's token id %d is beyond the vocabulary of %zu",
                           encoding->ids[i], vocab_size);
        SP_TRY(sp_batch_add_row(&g->prompts, SP_DECODER, encoding->ids[i]));
    }
    return SP_OK;
}

static sp_status add_turn(generation *g, const sp_chat_turn *turn, bool has_bos) {
    const int32_t bos = sp_trained_layout(&g->trained).bos;
    int32_t seq = 0;
    SP_TRY(sp_batch_add_seq(&g->prompts, SP_DECODER, SP_NO_PARENT, 0, &seq));
    if (has_bos && bos != SP_NO_TOKEN) SP_TRY(sp_batch_add_row(&g->prompts, SP_DECODER, bos));
    SP_TRY(add_ids(g, &turn->before));
    SP_TRY(add_memory(g));
    SP_TRY(add_ids(g, &turn->prompt));
    return add_ids(g, &turn->after);
}

/* A turn without a template: the prompt goes on from the text in the slots. */
static sp_status answer(generation *g) {
    const sp_decoding_limits limits =
        sp_models_decoding_limits(&g->trained.models, g->job->max_new_tokens);
    sp_chat_turn turn = {0};
    sp_status status =
        sp_tokenizer_encode(g->tokenizer, &turn.prompt, g->job->prompt, strlen(g->job->prompt),
                            (sp_encode_options){.is_continuation = true});
    if (status == SP_OK) status = add_turn(g, &turn, true);
    sp_chat_turn_free(&turn);
    return status == SP_OK ? decode_prompts(g, &limits) : status;
}

static sp_status find_template(const sp_chat_template **chat, generation *g) {
    const char *decoder = g->trained.config.decoder.model;
    char *published = NULL;
    *chat = g->job->chat;
    if (*chat != NULL) return SP_OK;
    SP_TRY(sp_chat_template_load(&published, decoder));
    *chat = sp_chat_template_recognise(
        g->tokenizer, g->trained.models.decoder_weights->config.family->name, published);
    free(published);
    if (*chat != NULL) return SP_OK;
    return sp_fail(SP_USAGE, "'%s': its chat template is not recognised; --chat=NAME chooses one",
                   decoder);
}

/* The model's limits, and the end of the turn. */
static sp_status limit_chat(sp_decoding_limits *limits, generation *g, int32_t end_of_turn) {
    void *stop_ids = NULL;
    *limits = sp_models_decoding_limits(&g->trained.models, g->job->max_new_tokens);
    SP_TRY(sp_alloc_array(&stop_ids, limits->n_stop_ids + 1, sizeof *g->stop_ids, "stop ids"));
    g->stop_ids = stop_ids;
    for (size_t i = 0; i < limits->n_stop_ids; i++) g->stop_ids[i] = limits->stop_ids[i];
    g->stop_ids[limits->n_stop_ids++] = end_of_turn;
    limits->stop_ids = g->stop_ids;
    return SP_OK;
}

static sp_status chat(generation *g) {
    const sp_chat_template *template = NULL;
    sp_decoding_limits limits = {0};
    sp_chat_turn turn = {0};
    SP_TRY(find_template(&template, g));
    SP_TRY(sp_chat_turn_encode(&turn, template, g->tokenizer, g->job->prompt));
    sp_status status = add_turn(g, &turn, template->has_bos);
    if (status == SP_OK) status = limit_chat(&limits, g, turn.end_of_turn);
    sp_chat_turn_free(&turn);
    return status == SP_OK ? decode_prompts(g, &limits) : status;
}

/* Whether what is generated goes on from another text: no answer in a chat does, and a document's
   reconstruction does not where the decoder has learnt from the stream of whole documents, the one
   that the encoder cuts. */
static bool is_continuation(const generation *g) {
    const sp_run_config *config = &g->trained.config;
    if (g->job->is_chat) return false;
    return g->job->prompt != NULL ||
           strcmp(config->data.encoder_stream, config->data.decoder_stream) != 0;
}

static sp_status generate(generation *g, json_t **result, char **text, size_t *n_bytes) {
    const sp_generate_job *job = g->job;
    SP_TRY(sp_trained_open(&g->trained, job->checkpoint, job->assignments, job->n_assignments,
                           SP_SIDES_DECODER));
    const char *decoder = g->trained.config.decoder.model;
    SP_TRY(sp_tokenizer_json_load(&g->tokenizer_json, decoder));
    SP_TRY(sp_tokenizer_create(&g->tokenizer, g->tokenizer_json, decoder));
    SP_TRY(open_slots(g));
    SP_TRY(read_slots(g));
    SP_TRY(job->is_chat ? chat(g) : job->prompt != NULL ? answer(g) : reconstruct(g));
    SP_TRY(sp_tokenizer_decode(
        g->tokenizer, text, n_bytes, g->ids, g->n_ids,
        (sp_decode_options){.skips_special = true, .is_continuation = is_continuation(g)}));
    json_t *ids = json_array();
    for (size_t i = 0; i < g->n_ids; i++) json_array_append_new(ids, json_integer(g->ids[i]));
    *result = json_pack("{s:s, s:o, s:o}", "document", job->document, "text",
                        sp_json_from_bytes(*text, *n_bytes), "ids", ids);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

sp_status sp_generate(json_t **result, char **text, size_t *n_bytes, const sp_generate_job *job) {
    generation g = {.job = job};
    const sp_status status = generate(&g, result, text, n_bytes);
    free(g.ids);
    free(g.stop_ids);
    sp_batch_free(&g.prompts);
    free(g.slots);
    sp_converted_slots_close(&g.memory);
    sp_tokenizer_destroy(g.tokenizer);
    json_decref(g.tokenizer_json);
    sp_trained_close(&g.trained);
    return status;
}
