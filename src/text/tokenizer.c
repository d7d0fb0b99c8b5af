#include "text/tokenizer.h"

#include "base/memory.h"
#include "text/affixes.h"
#include "text/tokenizer_digest.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

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
    sp_affixes affixes; /* read by those who add them; here they are checked */
    SP_TRY(sp_normalizer_read(&tokenizer->normalizer, json_object_get(json, "normalizer"), name));
    SP_TRY(sp_pretokenizer_read(&tokenizer->pretokenizer, json_object_get(json, "pre_tokenizer"),
                                name));
    const bool is_byte_level = tokenizer->pretokenizer.is_byte_level;
    SP_TRY(sp_bpe_check_options(model, is_byte_level, name)); /* other kinds have another 'vocab' */
    SP_TRY(sp_affixes_read(&affixes, json, name));
    SP_TRY(sp_decoder_read(&tokenizer->decoder, json_object_get(json, "decoder"), is_byte_level,
                           name));
    SP_TRY(sp_vocabulary_read(&tokenizer->vocabulary, json_object_get(model, "vocab"),
                              is_byte_level, name));
    SP_TRY(sp_bpe_read(&tokenizer->bpe, model, &tokenizer->vocabulary, name));
    SP_TRY(sp_added_tokens_read(&tokenizer->added, json_object_get(json, "added_tokens"),
                                &tokenizer->vocabulary, &tokenizer->normalizer, name));
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
    sp_decoder_free(&tokenizer->decoder);
    sp_pretokenizer_free(&tokenizer->pretokenizer);
    sp_normalizer_free(&tokenizer->normalizer);
    sp_bpe_free(&tokenizer->bpe);
    sp_vocabulary_free(&tokenizer->vocabulary);
    free(tokenizer);
}

/* Adds what an id is spelled as; *has_token false if no token has it. */
static sp_status add_spelling(const sp_tokenizer *tokenizer, sp_pieces *pieces, int32_t id,
                              bool skips_special, bool *has_token) {
    *has_token = id >= 0 && (size_t)id < tokenizer->vocab_size;
    if (!*has_token) return SP_OK;
    const sp_added_token *added = tokenizer->added_by_id[id];
    if (added != NULL)
        return skips_special && added->special
                   ? SP_OK
                   : sp_pieces_add(pieces, sp_added_token_spelling(added),
                                   sp_added_token_spelling_len(added));
    const sp_vocabulary *vocabulary = &tokenizer->vocabulary;
    *has_token = (size_t)id < vocabulary->n && vocabulary->tokens[id].kind != SP_TOKEN_ABSENT;
    if (!*has_token) return SP_OK;
    return sp_pieces_add(pieces, vocabulary->tokens[id].bytes, vocabulary->tokens[id].n_bytes);
}

static sp_status decode(const sp_tokenizer *tokenizer, sp_pieces *pieces, const int32_t *ids,
                        size_t n_ids, sp_decode_options options) {
    for (size_t i = 0; i < n_ids; i++) {
        bool has_token = false;
        SP_TRY(add_spelling(tokenizer, pieces, ids[i], options.skips_special, &has_token));
        if (!has_token)
            return sp_fail(SP_BAD_DATA,
                           "token %zu has the id %d, which the tokenizer does not have", i, ids[i]);
    }
    SP_TRY(sp_decoder_run(&tokenizer->decoder, pieces, options.is_continuation));
    return sp_pieces_add(pieces, "", 1); /* the NUL */
}

sp_status sp_tokenizer_decode(const sp_tokenizer *tokenizer, char **text, size_t *n_bytes,
                              const int32_t *ids, size_t n_ids, sp_decode_options options) {
    sp_pieces pieces = {0};
    const sp_status status = decode(tokenizer, &pieces, ids, n_ids, options);
    if (status == SP_OK) {
        *text = pieces.bytes;
        *n_bytes = pieces.n_bytes - 1;
        pieces.bytes = NULL;
    }
    sp_pieces_free(&pieces);
    return status;
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
