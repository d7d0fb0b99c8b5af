#include "text/vocabulary.h"

#include "base/memory.h"
#include "text/byte_level.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Checks every id, and counts what the tables take. */
static sp_status measure(size_t *n_ids, size_t *n_bytes, const json_t *object, const char *name) {
    const char *spelling;
    json_t *value;
    *n_ids = *n_bytes = 0;
    json_object_foreach((json_t *)object, spelling, value) { /* is not written to */
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= SP_VOCABULARY_MAX)
            return sp_fail(SP_BAD_DATA, "'%s': vocab: the id of '%s' is not an integer in [0, %d)",
                           name, spelling, SP_VOCABULARY_MAX);
        if ((size_t)id >= *n_ids) *n_ids = (size_t)id + 1;
        const size_t n_spelling = strlen(spelling);
        if (n_spelling > SP_SPELLING_MAX)
            return sp_fail(SP_BAD_DATA, "'%s': vocab: token %jd is %zu bytes long; %d are allowed",
                           name, (intmax_t)id, n_spelling, SP_SPELLING_MAX);
        *n_bytes += n_spelling; /* of text in memory: the sum fits */
    }
    return SP_OK;
}

static sp_status fill_tokens(sp_vocabulary *vocabulary, const json_t *object, const char *name) {
    const char *spelling;
    json_t *value;
    char *next = vocabulary->bytes;
    json_object_foreach((json_t *)object, spelling, value) {
        const size_t id = (size_t)json_integer_value(value);
        sp_token *token = &vocabulary->tokens[id];
        if (token->kind != SP_TOKEN_ABSENT)
            return sp_fail(SP_BAD_DATA, "'%s': vocab: two tokens have the id %zu, one is '%s'",
                           name, id, spelling);
        size_t n_bytes = strlen(spelling);
        token->bytes = next;
        token->kind = SP_TOKEN_BYTES;
        if (!vocabulary->is_byte_level) {
            memcpy(next, spelling, n_bytes);
        } else if (!sp_byte_level_decode(next, &n_bytes, spelling, n_bytes)) {
            token->kind = SP_TOKEN_LITERAL;
            memcpy(next, spelling, n_bytes);
        }
        token->n_bytes = (uint32_t)n_bytes;
        next += n_bytes;
        vocabulary->n_present++;
    }
    return SP_OK;
}

static bool is_same(const sp_token *token, const char *bytes, size_t n_bytes) {
    return token->n_bytes == n_bytes && memcmp(token->bytes, bytes, n_bytes) == 0;
}

/* The slot that holds the bytes' id, or the free one where it would go. */
static size_t find_slot(const sp_vocabulary *vocabulary, const char *bytes, size_t n_bytes) {
    size_t slot = XXH3_64bits(bytes, n_bytes) & vocabulary->slot_mask;
    while (vocabulary->slots[slot] != 0 &&
           !is_same(&vocabulary->tokens[vocabulary->slots[slot] - 1], bytes, n_bytes))
        slot = (slot + 1) & vocabulary->slot_mask;
    return slot;
}

static sp_status hash_tokens(sp_vocabulary *vocabulary) {
    size_t n_slots = 16;
    while (n_slots < 2 * vocabulary->n_present) n_slots *= 2;
    SP_TRY(sp_alloc_array((void **)&vocabulary->slots, n_slots, sizeof *vocabulary->slots,
                          "a vocabulary's hash table"));
    vocabulary->slot_mask = n_slots - 1;
    for (size_t id = 0; id < vocabulary->n; id++) {
        const sp_token *token = &vocabulary->tokens[id];
        if (token->kind == SP_TOKEN_BYTES)
            vocabulary->slots[find_slot(vocabulary, token->bytes, token->n_bytes)] =
                (uint32_t)id + 1;
    }
    return SP_OK;
}

sp_status sp_vocabulary_read(sp_vocabulary *vocabulary, const json_t *object, bool is_byte_level,
                             const char *name) {
    if (!json_is_object(object))
        return sp_fail(SP_BAD_DATA, "'%s': model has no object 'vocab'", name);
    sp_vocabulary result = {.is_byte_level = is_byte_level};
    size_t n_bytes = 0;
    sp_status status = measure(&result.n, &n_bytes, object, name);
    if (status != SP_OK) goto cleanup;
    status = sp_alloc_array((void **)&result.tokens, result.n, sizeof *result.tokens,
                            "a vocabulary's tokens");
    if (status != SP_OK) goto cleanup;
    status = sp_alloc((void **)&result.bytes, n_bytes, "a vocabulary's bytes");
    if (status != SP_OK) goto cleanup;
    status = fill_tokens(&result, object, name);
    if (status != SP_OK) goto cleanup;
    status = hash_tokens(&result);
    if (status != SP_OK) goto cleanup;
    *vocabulary = result;
    result = (sp_vocabulary){0};

cleanup:
    sp_vocabulary_free(&result);
    return status;
}

void sp_vocabulary_free(sp_vocabulary *vocabulary) {
    free(vocabulary->slots);
    free(vocabulary->bytes);
    free(vocabulary->tokens);
    *vocabulary = (sp_vocabulary){0};
}

int32_t sp_vocabulary_find_bytes(const sp_vocabulary *vocabulary, const char *bytes,
                                 size_t n_bytes) {
    return (int32_t)vocabulary->slots[find_slot(vocabulary, bytes, n_bytes)] - 1;
}

/* Spellings outside the byte-level alphabet are few and seldom asked for. */
static int32_t find_literal(const sp_vocabulary *vocabulary, const char *spelling,
                            size_t n_spelling) {
    for (size_t id = 0; id < vocabulary->n; id++) {
        const sp_token *token = &vocabulary->tokens[id];
        if (token->kind == SP_TOKEN_LITERAL && is_same(token, spelling, n_spelling))
            return (int32_t)id;
    }
    return -1;
}

int32_t sp_vocabulary_find(const sp_vocabulary *vocabulary, const char *spelling,
                           size_t n_spelling) {
    char bytes[SP_SPELLING_MAX];
    size_t n_bytes = 0;
    if (n_spelling > sizeof bytes) return -1;
    if (!vocabulary->is_byte_level)
        return sp_vocabulary_find_bytes(vocabulary, spelling, n_spelling);
    return sp_byte_level_decode(bytes, &n_bytes, spelling, n_spelling)
               ? sp_vocabulary_find_bytes(vocabulary, bytes, n_bytes)
               : find_literal(vocabulary, spelling, n_spelling);
}
