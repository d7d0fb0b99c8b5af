#include "run/prompts.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A document or a context: segments [begin, end) of the slot file, or of the context. */
typedef struct passage {
    bool is_context;
    size_t begin, end;
} passage;

static size_t n_passages(const sp_request *request) {
    return request->n_documents + (request->context != NULL ? 1 : 0);
}

void sp_prompts_clear(sp_prompts *p) {
    sp_batch_clear(&p->batch);
    p->n_slots = 0;
}

void sp_prompts_release(sp_prompts *p) {
    sp_encoding_free(&p->encoding);
    sp_batch_free(&p->batch);
    free(p->slots);
    *p = (sp_prompts){0};
}

sp_status sp_prompts_check(const sp_prompts *p, const sp_request *request) {
    passage unused;
    for (size_t i = 0; i < request->n_documents; i++)
        SP_TRY(sp_slots_find_document(p->memory->file, request->documents[i], &unused.begin,
                                      &unused.end));
    return SP_OK;
}

/* With `reads_context` the context becomes the present one, else it is. */
static sp_status find_passage(sp_prompts *p, passage *found, const sp_request *request,
                              size_t index, bool reads_context) {
    if (index < request->n_documents) {
        found->is_context = false;
        return sp_slots_find_document(p->memory->file, request->documents[index], &found->begin,
                                      &found->end);
    }
    if (reads_context)
        SP_TRY(sp_context_slots_read(p->context, request->context, strlen(request->context)));
    *found = (passage){.is_context = true, .end = p->context->n_segments};
    return SP_OK;
}

static sp_status count_slots(const sp_prompts *p, const passage *from, size_t begin, size_t end,
                             size_t *n) {
    if (!from->is_context) return sp_converted_slots_count(p->memory, begin, end, n);
    *n = 0;
    for (size_t i = begin; i < end; i++) *n += p->context->n_slots[i];
    return SP_OK;
}

static sp_status grow_slots(sp_prompts *p, size_t n) {
    if (n <= p->slots_capacity) return SP_OK;
    const size_t row_bytes = p->trained->models.compressor->converter.out.n_out * sizeof(float);
    void *grown = NULL;
    SP_TRY(sp_alloc_array(&grown, 2 * n, row_bytes, "slots"));
    if (p->n_slots > 0) memcpy(grown, p->slots, p->n_slots * row_bytes);
    free(p->slots);
    p->slots = grown;
    p->slots_capacity = 2 * n;
    return SP_OK;
}

/* Appends slots of segments [begin, end) of a passage. */
static sp_status read_slots(sp_prompts *p, const passage *from, size_t begin, size_t end) {
    const size_t d = p->trained->models.compressor->converter.out.n_out;
    size_t n = 0, n_before = 0;
    SP_TRY(count_slots(p, from, begin, end, &n));
    if (from->is_context) SP_TRY(count_slots(p, from, 0, begin, &n_before));
    SP_TRY(grow_slots(p, p->n_slots + n));
    float *to = p->slots + p->n_slots * d;
    if (from->is_context)
        memcpy(to, p->context->slots + n_before * d, n * d * sizeof *to);
    else
        SP_TRY(sp_converted_slots_read(p->memory, to, begin, end));
    p->n_slots += n;
    return SP_OK;
}

/* Between texts, and before a prompt that follows them. */
static const char blank_line[] = "\n\n";

/* The text of a passage behind `before`: *text, owned, and terminated. */
static sp_status read_text(const sp_prompts *p, const sp_request *request, size_t index,
                           const char *before, char **text, size_t *n_bytes) {
    const bool is_context = index == request->n_documents;
    const sp_slots *file = is_context ? NULL : p->memory->file;
    size_t begin = 0, end = 0, n = is_context ? strlen(request->context) : 0;
    void *block = NULL;
    if (!is_context) SP_TRY(sp_slots_find_document(file, request->documents[index], &begin, &end));
    sp_slots_segment segment = {0};
    for (size_t i = begin; i < end; i++) {
        SP_TRY(sp_slots_get_segment(file, i, &segment));
        n += segment.byte_len;
    }
    *n_bytes = strlen(before) + n;
    SP_TRY(sp_alloc(&block, *n_bytes + 1, "a document's text"));
    *text = block;
    char *to = stpcpy(*text, before);
    if (is_context) memcpy(to, request->context, n);
    sp_status status = SP_OK;
    for (size_t i = begin; i < end && status == SP_OK; i++) {
        status = sp_slots_read_text(file, i, to);
        if (status == SP_OK) status = sp_slots_get_segment(file, i, &segment);
        to += segment.byte_len;
    }
    if (status == SP_OK) return SP_OK;
    free(*text);
    *text = NULL;
    return status;
}

static sp_status add_ids(sp_prompts *p, const sp_encoding *encoding) {
    const size_t vocab_size = p->trained->models.decoder_weights->config.vocab_size;
    for (size_t i = 0; i < encoding->n; i++) {
        if ((size_t)encoding->ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "a text's token id %d is beyond the vocabulary of %zu",
                           encoding->ids[i], vocab_size);
        SP_TRY(sp_batch_add_row(&p->batch, SP_DECODER, encoding->ids[i]));
    }
    return SP_OK;
}

/* Appends a request's texts to the last sequence, which may have others before them. */
static sp_status add_texts(sp_prompts *p, const sp_request *request, bool is_continuation) {
    for (size_t i = 0; i < n_passages(request); i++) {
        char *text = NULL;
        size_t n_bytes = 0;
        SP_TRY(read_text(p, request, i, i > 0 ? blank_line : "", &text, &n_bytes));
        sp_status status =
            sp_tokenizer_encode(p->tokenizer, &p->encoding, text, n_bytes,
                                (sp_encode_options){.specials_are_plain = true,
                                                    .is_continuation = is_continuation || i > 0});
        free(text);
        if (status == SP_OK) status = add_ids(p, &p->encoding);
        SP_TRY(status);
    }
    return SP_OK;
}

/* Appends a request's memory to the last sequence. */
static sp_status add_memory(sp_prompts *p, const sp_request *request) {
    const sp_layout layout = sp_trained_layout(p->trained);
    for (size_t i = 0; i < n_passages(request); i++) {
        passage from;
        size_t slot = p->n_slots;
        SP_TRY(find_passage(p, &from, request, i, true));
        SP_TRY(read_slots(p, &from, from.begin, from.end));
        for (size_t s = from.begin; s < from.end; s++) {
            size_t n = 0;
            SP_TRY(count_slots(p, &from, s, s + 1, &n));
            SP_TRY(sp_layout_add_memory(&layout, &p->batch, &n, 1, &slot));
        }
    }
    return SP_OK;
}

/* A turn without a template: the prompt goes on from the text in the slots. */
static sp_status encode_prompt(const sp_prompts *p, sp_chat_turn *turn, const char *prompt) {
    if (p->chat != NULL) return sp_chat_turn_encode(turn, p->chat, p->tokenizer, prompt);
    return sp_tokenizer_encode(p->tokenizer, &turn->prompt, prompt, strlen(prompt),
                               (sp_encode_options){.is_continuation = true});
}

static sp_status encode_turn(const sp_prompts *p, sp_chat_turn *turn, const sp_request *request) {
    const char *prompt = request->prompt != NULL ? request->prompt : "";
    const bool follows_text = p->reads_text && n_passages(request) > 0 && prompt[0] != '\0';
    char *behind = NULL;
    if (!follows_text) return encode_prompt(p, turn, prompt);
    if (asprintf(&behind, "%s%s", blank_line, prompt) < 0)
        return sp_fail(SP_FAILURE, "no memory for a prompt");
    const sp_status status = encode_prompt(p, turn, behind);
    free(behind);
    return status;
}

static sp_status add_prefix(sp_prompts *p, const sp_request *request, const sp_chat_turn *turn,
                            int32_t *seq) {
    const int32_t bos = sp_trained_layout(p->trained).bos;
    const bool has_bos = p->chat == NULL || p->chat->has_bos;
    SP_TRY(sp_batch_add_seq(&p->batch, SP_DECODER, SP_NO_PARENT, 0, seq));
    if (has_bos && bos != SP_NO_TOKEN) SP_TRY(sp_batch_add_row(&p->batch, SP_DECODER, bos));
    SP_TRY(add_ids(p, &turn->before));
    return p->reads_text ? add_texts(p, request, turn->before.n > 0) : add_memory(p, request);
}

static sp_status add_own(sp_prompts *p, const sp_chat_turn *turn) {
    SP_TRY(add_ids(p, &turn->prompt));
    return add_ids(p, &turn->after);
}

sp_status sp_prompts_add(sp_prompts *p, const sp_request *const *requests, size_t n) {
    int32_t prefix = 0, child = 0;
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < n; i++) {
        sp_chat_turn turn = {0};
        status = encode_turn(p, &turn, requests[i]);
        if (status == SP_OK && i == 0) status = add_prefix(p, requests[i], &turn, &prefix);
        if (status == SP_OK && n > 1)
            status = sp_batch_add_seq(&p->batch, SP_DECODER, prefix, 0, &child);
        if (status == SP_OK) status = add_own(p, &turn);
        sp_chat_turn_free(&turn);
    }
    return status;
}

sp_status sp_prompts_add_reconstructions(sp_prompts *p, const sp_request *request, size_t most,
                                         sp_prompts_cursor *cursor, bool *is_end) {
    const sp_layout layout = sp_trained_layout(p->trained);
    for (size_t n = 0; n < most && cursor->passage < n_passages(request);) {
        passage from;
        SP_TRY(find_passage(p, &from, request, cursor->passage, cursor->segment == 0));
        const size_t begin = from.begin + cursor->segment, left = from.end - begin;
        const size_t taken = left < most - n ? left : most - n;
        size_t slot = p->n_slots;
        SP_TRY(read_slots(p, &from, begin, begin + taken));
        for (size_t s = begin; s < begin + taken; s++) {
            size_t n_slots = 0;
            SP_TRY(count_slots(p, &from, s, s + 1, &n_slots));
            SP_TRY(sp_layout_add_reconstruction_prompt(&layout, &p->batch, n_slots, &slot));
        }
        n += taken;
        cursor->segment += taken;
        if (taken == left) *cursor = (sp_prompts_cursor){.passage = cursor->passage + 1};
    }
    *is_end = cursor->passage == n_passages(request);
    return SP_OK;
}
