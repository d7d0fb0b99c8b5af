#include "text/added_tokens.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

static sp_status trie_reserve(sp_trie *trie, size_t n_more) {
    if (trie->capacity - trie->n >= n_more) return SP_OK;
    const size_t capacity = 2 * (trie->n + n_more);
    sp_trie_node *nodes = NULL;
    SP_TRY(sp_alloc_array((void **)&nodes, capacity, sizeof *nodes, "a trie of added tokens"));
    if (trie->n > 0) memcpy(nodes, trie->nodes, trie->n * sizeof *nodes);
    free(trie->nodes);
    trie->nodes = nodes;
    trie->capacity = capacity;
    return SP_OK;
}

static uint32_t trie_child(const sp_trie *trie, uint32_t node, unsigned char byte) {
    if (node == 0) return trie->first[byte];
    uint32_t child = trie->nodes[node].child;
    while (child != 0 && trie->nodes[child].byte != byte) child = trie->nodes[child].sibling;
    return child;
}

static sp_status trie_add(sp_trie *trie, const char *spelling, size_t n_bytes, int32_t token) {
    SP_TRY(trie_reserve(trie, n_bytes + 1));
    if (trie->n == 0) trie->nodes[trie->n++] = (sp_trie_node){.token = -1};
    uint32_t node = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        const unsigned char byte = (unsigned char)spelling[i];
        uint32_t child = trie_child(trie, node, byte);
        if (child == 0) {
            child = (uint32_t)trie->n++;
            trie->nodes[child] =
                (sp_trie_node){.sibling = trie->nodes[node].child, .token = -1, .byte = byte};
            trie->nodes[node].child = child;
            if (node == 0) trie->first[byte] = child;
        }
        node = child;
    }
    trie->nodes[node].token = token;
    return SP_OK;
}

/* The longest spelling at the text's start: its token's index and length, or -1. */
static int32_t trie_longest(const sp_trie *trie, const char *text, size_t n_bytes, size_t *len) {
    int32_t token = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        node = trie_child(trie, node, (unsigned char)text[i]);
        if (node == 0) break;
        if (trie->nodes[node].token >= 0) {
            token = trie->nodes[node].token;
            *len = i + 1;
        }
    }
    return token;
}

/* Reads all of a token but its id. */
static sp_status read_token(sp_added_token *token, const json_t *object, const char *name) {
    const char *content = NULL;
    SP_TRY(sp_json_get_string(&content, object, "content", name));
    if (content == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': added_tokens: an entry has no 'content'", name);
    if (strlen(content) > SP_SPELLING_MAX)
        return sp_fail(SP_BAD_DATA, "'%s': added_tokens: a token of %zu bytes; %d are allowed",
                       name, strlen(content), SP_SPELLING_MAX);
    SP_TRY(sp_json_get_bool(&token->lstrip, object, "lstrip", name));
    SP_TRY(sp_json_get_bool(&token->rstrip, object, "rstrip", name));
    SP_TRY(sp_json_get_bool(&token->single_word, object, "single_word", name));
    SP_TRY(sp_json_get_bool(&token->special, object, "special", name));
    token->normalized = !token->special; /* the default */
    SP_TRY(sp_json_get_bool(&token->normalized, object, "normalized", name));
    token->content = strdup(content);
    if (token->content == NULL) return sp_fail(SP_FAILURE, "no memory for an added token");
    token->content_len = strlen(content);
    return SP_OK;
}

static sp_added_token *find(const sp_added_tokens *added, const char *content, size_t content_len) {
    size_t len = 0;
    if (added->spellings.n == 0) return NULL;
    const int32_t token = trie_longest(&added->spellings, content, content_len, &len);
    return token >= 0 && len == content_len ? &added->tokens[token] : NULL;
}

/* Adds a token, taking its content over; of two with one spelling the later one counts, with the
   id of the first. */
static sp_status add_token(sp_added_tokens *added, sp_added_token token,
                           const sp_vocabulary *vocabulary, size_t *next_id, const char *name) {
    sp_added_token *earlier = find(added, token.content, token.content_len);
    if (earlier != NULL || token.content_len == 0) {
        if (earlier != NULL) {
            free(earlier->content);
            token.id = earlier->id;
            *earlier = token;
        } else {
            free(token.content);
        }
        return SP_OK;
    }
    token.id = sp_vocabulary_find(vocabulary, token.content, token.content_len);
    if (token.id < 0) token.id = (int32_t)(*next_id)++;
    added->tokens[added->n++] = token;
    if (*next_id > SP_VOCABULARY_MAX)
        return sp_fail(SP_BAD_DATA, "'%s': more than %d tokens", name, SP_VOCABULARY_MAX);
    return trie_add(&added->spellings, token.content, token.content_len, (int32_t)added->n - 1);
}

/* Gives a token its normalized spelling, where that is another one. */
static sp_status normalize(sp_added_token *token, const sp_normalizer *normalizer,
                           sp_normalized *scratch) {
    SP_TRY(sp_normalizer_run(normalizer, scratch, token->content, token->content_len, false));
    if (scratch->n_bytes == token->content_len &&
        memcmp(scratch->bytes, token->content, token->content_len) == 0)
        return SP_OK;
    token->normalized_len = scratch->n_bytes;
    token->normalized_content = strndup(scratch->bytes, scratch->n_bytes);
    return token->normalized_content != NULL ? SP_OK
                                             : sp_fail(SP_FAILURE, "no memory for an added token");
}

static sp_status index_tokens(sp_added_tokens *added, const sp_normalizer *normalizer) {
    sp_normalized scratch = {0};
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < added->n; i++) {
        sp_added_token *token = &added->tokens[i];
        if (token->normalized) status = normalize(token, normalizer, &scratch);
        if (status != SP_OK) break;
        const char *spelling = sp_added_token_spelling(token);
        const size_t len = sp_added_token_spelling_len(token);
        if (len > 0)
            status = trie_add(token->normalized ? &added->normalized : &added->raw, spelling, len,
                              (int32_t)i);
    }
    sp_normalized_free(&scratch);
    return status;
}

sp_status sp_added_tokens_read(sp_added_tokens *added, const json_t *list,
                               const sp_vocabulary *vocabulary, const sp_normalizer *normalizer,
                               const char *name) {
    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return sp_fail(SP_BAD_DATA, "'%s': added_tokens is not an array", name);
    const size_t n = json_array_size(list);
    sp_added_tokens result = {0};
    size_t next_id = vocabulary->n_present;
    sp_status status =
        sp_alloc_array((void **)&result.tokens, n, sizeof *result.tokens, "added tokens");
    for (size_t i = 0; status == SP_OK && i < n; i++) {
        sp_added_token token = {0};
        status = read_token(&token, json_array_get(list, i), name);
        if (status == SP_OK) status = add_token(&result, token, vocabulary, &next_id, name);
    }
    if (status == SP_OK) status = index_tokens(&result, normalizer);
    if (status == SP_OK)
        *added = result;
    else
        sp_added_tokens_free(&result);
    return status;
}

void sp_added_tokens_free(sp_added_tokens *added) {
    for (size_t i = 0; i < added->n; i++) {
        free(added->tokens[i].content);
        free(added->tokens[i].normalized_content);
    }
    free(added->tokens);
    free(added->spellings.nodes);
    free(added->raw.nodes);
    free(added->normalized.nodes);
    *added = (sp_added_tokens){0};
}

const sp_added_token *sp_added_tokens_find(const sp_added_tokens *added, const char *content,
                                           size_t content_len) {
    return find(added, content, content_len);
}

/* Whether the character that ends at `at`, or the one that begins there, is part of a word. */
static bool word_ends_at(const char *text, size_t at) {
    uint32_t character;
    if (at == 0) return false;
    const size_t begin = sp_utf8_last_character(text, at);
    return sp_utf8_decode(&character, text + begin, at - begin) == at - begin &&
           sp_unicode_is_word(character);
}

static bool word_begins_at(const char *text, size_t n_bytes, size_t at) {
    uint32_t character;
    return sp_utf8_decode(&character, text + at, n_bytes - at) > 0 && sp_unicode_is_word(character);
}

/* Where the white space begins that ends at `end`, not before `floor`. */
static size_t space_before(const char *text, size_t floor, size_t end) {
    uint32_t character;
    while (end > floor) {
        const size_t begin = sp_utf8_last_character(text, end);
        if (begin < floor || sp_utf8_decode(&character, text + begin, end - begin) != end - begin ||
            !sp_unicode_is_space(character))
            break;
        end = begin;
    }
    return end;
}

static size_t space_after(const char *text, size_t n_bytes, size_t begin) {
    uint32_t character;
    for (size_t len; begin < n_bytes; begin += len) {
        len = sp_utf8_decode(&character, text + begin, n_bytes - begin);
        if (len == 0 || !sp_unicode_is_space(character)) break;
    }
    return begin;
}

sp_added_match sp_added_walk_next(const sp_added_tokens *added, const sp_trie *trie,
                                  sp_added_walk *walk, const char *text, size_t n_bytes,
                                  bool parse_special) {
    for (size_t at = walk->search_from; trie->n > 0 && at < n_bytes; at = walk->search_from) {
        while (at < n_bytes && trie->first[(unsigned char)text[at]] == 0) at++;
        size_t len = 0;
        const int32_t found = trie_longest(trie, text + at, n_bytes - at, &len);
        walk->search_from = at + (found >= 0 ? len : 1);
        if (found < 0) continue;
        const sp_added_token *token = &added->tokens[found];
        if (token->special && !parse_special) continue;
        size_t begin = at, end = at + len;
        if (token->single_word && (word_ends_at(text, begin) || word_begins_at(text, n_bytes, end)))
            continue;
        if (token->lstrip) begin = space_before(text, walk->taken_to, begin);
        if (token->rstrip) end = space_after(text, n_bytes, end);
        if (begin < walk->taken_to) begin = walk->taken_to;
        walk->taken_to = end;
        return (sp_added_match){token, begin, end};
    }
    return (sp_added_match){NULL, n_bytes, n_bytes};
}
