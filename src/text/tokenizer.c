#include "text/tokenizer.h"

#include "base/memory.h"
#include "text/tokenizer_digest.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* NFC, or a Sequence of nothing else. */
static sp_status read_normalizer(bool *has_nfc, const json_t *object, const char *name) {
    const char *type = NULL;
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    if (type == NULL && (object == NULL || json_is_null(object))) return SP_OK;
    if (type != NULL && strcmp(type, "NFC") == 0) {
        *has_nfc = true;
        return SP_OK;
    }
    if (type != NULL && strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(object, "normalizers");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *inner = "";
            SP_TRY(sp_json_get_string(&inner, json_array_get(list, i), "type", name));
            if (strcmp(inner, "NFC") != 0)
                return sp_fail(SP_BAD_DATA, "'%s': normalizer '%s' is not supported", name, inner);
            *has_nfc = true;
        }
        return SP_OK;
    }
    return sp_fail(SP_BAD_DATA, "'%s': normalizer '%s' is not supported", name,
                   type != NULL ? type : "without a type");
}

/* Decoding is the inverse of the byte-level spelling whatever the file says, so that it must not
   say anything else. */
static sp_status check_decoder(const json_t *object, const char *name) {
    const char *type = "ByteLevel";
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    if (strcmp(type, "ByteLevel") == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': decoder '%s' is not supported", name, type);
}

static sp_status index_added(sp_tokenizer *tokenizer) {
    const sp_added_tokens *added = &tokenizer->added;
    tokenizer->vocab_size = tokenizer->vocabulary.n;
    for (size_t i = 0; i < added->n; i++)
        if ((size_t)added->tokens[i].id >= tokenizer->vocab_size)
            tokenizer->vocab_size = (size_t)added->tokens[i].id + 1;
    SP_TRY(sp_alloc_array((void **)&tokenizer->added_by_id, tokenizer->vocab_size,
                          sizeof(const sp_added_token *), "a tokenizer's added tokens"));
    for (size_t i = 0; i < added->n; i++)
        tokenizer->added_by_id[added->tokens[i].id] = &added->tokens[i];
    return SP_OK;
}

static sp_status read_parts(sp_tokenizer *tokenizer, const json_t *json, const char *name) {
    const json_t *model = json_object_get(json, "model");
    if (!json_is_object(model))
        return sp_fail(SP_BAD_DATA, "'%s': not a tokenizer: it has no object 'model'", name);
    SP_TRY(sp_bpe_check_options(model, name)); /* other kinds have another 'vocab' */
    SP_TRY(read_normalizer(&tokenizer->has_nfc, json_object_get(json, "normalizer"), name));
    SP_TRY(sp_pretokenizer_read(&tokenizer->pretokenizer, json_object_get(json, "pre_tokenizer"),
                                name));
    SP_TRY(check_decoder(json_object_get(json, "decoder"), name));
    SP_TRY(sp_vocabulary_read(&tokenizer->vocabulary, json_object_get(model, "vocab"), name));
    SP_TRY(sp_bpe_read(&tokenizer->bpe, model, &tokenizer->vocabulary, name));
    SP_TRY(sp_added_tokens_read(&tokenizer->added, json_object_get(json, "added_tokens"),
                                &tokenizer->vocabulary, tokenizer->has_nfc, name));
    SP_TRY(index_added(tokenizer));
    return sp_tokenizer_compute_digest(tokenizer);
}

sp_status sp_tokenizer_create(sp_tokenizer **tokenizer, const json_t *tokenizer_json,
                              const char *name) {
    sp_tokenizer *result = calloc(1, sizeof *result);
    if (result == NULL) return sp_fail(SP_FAILURE, "no memory for a tokenizer");
    const sp_status status = read_parts(result, tokenizer_json, name);
    if (status == SP_OK)
        *tokenizer = result;
    else
        sp_tokenizer_destroy(result);
    return status;
}

void sp_tokenizer_destroy(sp_tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    free(tokenizer->added_by_id);
    sp_added_tokens_free(&tokenizer->added);
    sp_pretokenizer_free(&tokenizer->pretokenizer);
    sp_bpe_free(&tokenizer->bpe);
    sp_vocabulary_free(&tokenizer->vocabulary);
    free(tokenizer);
}

/* What an id stands for in a text: false if no token has it. */
static bool bytes_of(const sp_tokenizer *tokenizer, int32_t id, bool skip_special,
                     const char **bytes, size_t *n_bytes) {
    if (id < 0 || (size_t)id >= tokenizer->vocab_size) return false;
    const sp_added_token *added = tokenizer->added_by_id[id];
    if (added != NULL) {
        *bytes = added->content;
        *n_bytes = skip_special && added->special ? 0 : added->content_len;
        return true;
    }
    if ((size_t)id >= tokenizer->vocabulary.n) return false;
    const sp_token *token = &tokenizer->vocabulary.tokens[id];
    *bytes = token->bytes;
    *n_bytes = token->n_bytes;
    return token->kind != SP_TOKEN_ABSENT;
}

sp_status sp_tokenizer_decode(const sp_tokenizer *tokenizer, char **text, size_t *n_bytes,
                              const int32_t *ids, size_t n_ids, bool skip_special) {
    const char *bytes = NULL;
    size_t len = 0, total = 0;
    for (size_t i = 0; i < n_ids; i++) {
        if (!bytes_of(tokenizer, ids[i], skip_special, &bytes, &len))
            return sp_fail(SP_BAD_DATA,
                           "token %zu has the id %d, which the tokenizer does not have", i, ids[i]);
        total += len; /* SP_SPELLING_MAX an id in memory: the sum fits */
    }
    char *joined = malloc(total + 1);
    if (joined == NULL) return sp_fail(SP_FAILURE, "no memory: %zu bytes of decoded text", total);
    char *next = joined;
    for (size_t i = 0; i < n_ids; i++) {
        (void)bytes_of(tokenizer, ids[i], skip_special, &bytes, &len);
        memcpy(next, bytes, len);
        next += len;
    }
    *next = '\0';
    *text = joined;
    *n_bytes = total;
    return SP_OK;
}

size_t sp_tokenizer_vocab_size(const sp_tokenizer *tokenizer) { return tokenizer->vocab_size; }

bool sp_tokenizer_find(const sp_tokenizer *tokenizer, const char *content, int32_t *id) {
    const size_t len = strlen(content);
    const sp_added_token *added = sp_added_tokens_find(&tokenizer->added, content, len);
    const int32_t found =
        added != NULL ? added->id : sp_vocabulary_find(&tokenizer->vocabulary, content, len);
    if (found >= 0) *id = found;
    return found >= 0;
}

const char *sp_tokenizer_digest(const sp_tokenizer *tokenizer) { return tokenizer->digest; }
