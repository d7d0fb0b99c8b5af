#include "run/token_texts.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* As a JSON string; NULL if there is no memory. */
static json_t *make_string(char *text, size_t n_bytes) {
    json_t *string = json_stringn(text, n_bytes);
    if (string != NULL) return string;
    for (size_t i = 0; i < n_bytes; i++)
        if ((unsigned char)text[i] >= 0x80) text[i] = '?';
    return json_stringn(text, n_bytes);
}

static sp_status decode(const sp_tokens *tokens, const sp_named_tokenizer *tokenizer, size_t stream,
                        size_t segment, char **text, size_t *n_bytes) {
    const size_t n_ids = sp_tokens_length(tokens, stream, segment);
    void *ids = NULL;
    /* Only a document's begin in the stream that cuts was encoded as the begin of a text. */
    const bool begins = stream == sp_tokens_stream_at(tokens, 0) &&
                        (segment == 0 || sp_tokens_document(tokens, segment - 1) !=
                                             sp_tokens_document(tokens, segment));
    SP_TRY(sp_alloc_array(&ids, n_ids, sizeof(int32_t), "ids"));
    sp_status status = sp_tokens_read(tokens, stream, segment, ids);
    if (status == SP_OK)
        status = sp_tokenizer_decode(tokenizer->tokenizer, text, n_bytes, ids, n_ids,
                                     (sp_decode_options){.is_continuation = !begins});
    free(ids);
    return status;
}

static sp_status add_segment(json_t *texts, const sp_tokens *tokens,
                             const sp_named_tokenizer *tokenizer, size_t stream, size_t segment) {
    char *text = NULL, *id = NULL;
    size_t n_bytes = 0;
    uint64_t byte_begin = 0;
    uint32_t byte_len = 0;
    sp_status status = sp_tokens_bytes(tokens, segment, &byte_begin, &byte_len);
    if (status == SP_OK)
        status = sp_tokens_document_id(tokens, sp_tokens_document(tokens, segment), &id);
    if (status == SP_OK) status = decode(tokens, tokenizer, stream, segment, &text, &n_bytes);
    if (status == SP_OK &&
        json_array_append_new(
            texts, json_pack("{s:o*, s:I, s:I, s:o}", "document", make_string(id, strlen(id)),
                             "byte_begin", (json_int_t)byte_begin, "byte_len", (json_int_t)byte_len,
                             "text", make_string(text, n_bytes))) != 0)
        status = sp_fail(SP_FAILURE, "no memory for a segment's text");
    free(text);
    free(id);
    return status;
}

sp_status sp_token_texts(json_t **texts, const char *path, const sp_named_tokenizer *tokenizer,
                         size_t n) {
    sp_tokens *tokens = NULL;
    size_t stream = 0;
    SP_TRY(sp_tokens_open(&tokens, path));
    json_t *made = json_array();
    sp_status status = made == NULL ? sp_fail(SP_FAILURE, "no memory for texts") : SP_OK;
    if (status == SP_OK) status = sp_named_tokenizer_find(tokenizer, tokens, &stream);
    for (size_t i = 0; i < n && i < sp_tokens_n_segments(tokens) && status == SP_OK; i++)
        status = add_segment(made, tokens, tokenizer, stream, i);
    sp_tokens_close(tokens);
    if (status == SP_OK)
        *texts = made;
    else
        json_decref(made);
    return status;
}
