#include "base/memory.h"
#include "text/nfc.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/word_cache.h"

#include <stdlib.h>
#include <string.h>

struct sp_tokenizer_scratch {
    sp_word_walk *walk;
    sp_bpe_word word;
    sp_word_cache cache;
    sp_nfc nfc;
    char digest[SP_TOKENIZER_DIGEST_SIZE]; /* of the tokenizer that filled the cache */
};

static void destroy_scratch(struct sp_tokenizer_scratch *scratch) {
    if (scratch == NULL) return;
    sp_nfc_free(&scratch->nfc);
    sp_word_cache_release(&scratch->cache);
    sp_bpe_word_free(&scratch->word);
    sp_word_walk_destroy(scratch->walk);
    free(scratch);
}

static sp_status create_scratch(struct sp_tokenizer_scratch **scratch) {
    struct sp_tokenizer_scratch *result = calloc(1, sizeof *result);
    if (result == NULL) return sp_fail(SP_FAILURE, "no memory to encode text");
    sp_status status = sp_word_walk_create(&result->walk);
    if (status == SP_OK) status = sp_word_cache_reserve(&result->cache);
    if (status == SP_OK)
        *scratch = result;
    else
        destroy_scratch(result);
    return status;
}

/* Makes the encoding's scratch ready for a tokenizer. Equal digests mean equal tokens for a word,
   so that its cache may stay. */
static sp_status prepare(sp_encoding *encoding, const sp_tokenizer *tokenizer) {
    encoding->n = 0;
    if (encoding->scratch == NULL) SP_TRY(create_scratch(&encoding->scratch));
    struct sp_tokenizer_scratch *scratch = encoding->scratch;
    if (strcmp(scratch->digest, tokenizer->digest) != 0) {
        sp_word_cache_clear(&scratch->cache);
        memcpy(scratch->digest, tokenizer->digest, sizeof scratch->digest);
    }
    return SP_OK;
}

void sp_encoding_free(sp_encoding *encoding) {
    destroy_scratch(encoding->scratch);
    free(encoding->ends);
    free(encoding->ids);
    *encoding = (sp_encoding){0};
}

/* Makes room for n more tokens. */
static sp_status reserve(sp_encoding *encoding, size_t n) {
    if (encoding->capacity - encoding->n >= n) return SP_OK;
    const size_t capacity = 2 * (encoding->n + n) + 64;
    int32_t *ids = realloc(encoding->ids, capacity * sizeof *ids);
    if (ids != NULL) encoding->ids = ids;
    size_t *ends = realloc(encoding->ends, capacity * sizeof *ends);
    if (ends != NULL) encoding->ends = ends;
    if (ids == NULL || ends == NULL) {
        encoding->capacity = encoding->n; /* what both still hold */
        return sp_fail(SP_FAILURE, "no memory: %zu tokens", capacity);
    }
    encoding->capacity = capacity;
    return SP_OK;
}

static sp_status append_word(sp_encoding *encoding, const sp_bpe_word *word, ptrdiff_t offset) {
    SP_TRY(reserve(encoding, word->n));
    for (size_t i = 0; i < word->n; i++) {
        offset += word->lens[i];
        encoding->ids[encoding->n] = word->ids[i];
        encoding->ends[encoding->n++] = (size_t)offset; /* a space put in front is one byte long */
    }
    return SP_OK;
}

static sp_status append_cached(sp_encoding *encoding, const sp_cached_word *word,
                               ptrdiff_t offset) {
    SP_TRY(reserve(encoding, SP_WORD_CACHE_TOKENS));
    for (size_t i = 0; i < word->n_tokens; i++) {
        offset += word->lens[i];
        encoding->ids[encoding->n] = word->ids[i];
        encoding->ends[encoding->n++] = (size_t)offset;
    }
    return SP_OK;
}

static void keep(sp_cached_word *place, const sp_bpe_word *word) {
    if (word->n > SP_WORD_CACHE_TOKENS) {
        place->n_bytes = 0;
        return;
    }
    for (size_t i = 0; i < word->n; i++) {
        place->ids[i] = word->ids[i];
        place->lens[i] = (uint8_t)word->lens[i]; /* SP_WORD_CACHE_BYTES at most */
    }
    place->n_tokens = (uint8_t)word->n;
}

/* Appends the tokens of one word that begins at `offset` of the text. */
static sp_status encode_word(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                             const char *bytes, size_t n_bytes, ptrdiff_t offset) {
    struct sp_tokenizer_scratch *scratch = encoding->scratch;
    sp_cached_word *place = NULL;
    if (n_bytes <= SP_WORD_CACHE_BYTES) {
        bool found = false;
        place = sp_word_cache_find(&scratch->cache, bytes, n_bytes, &found);
        if (found) return append_cached(encoding, place, offset);
    }
    const sp_status status =
        sp_bpe_encode(&tokenizer->bpe, &tokenizer->vocabulary, &scratch->word, bytes, n_bytes);
    if (status != SP_OK) {
        if (place != NULL) place->n_bytes = 0;
        return status;
    }
    if (place != NULL) keep(place, &scratch->word);
    return append_word(encoding, &scratch->word, offset);
}

static sp_status encode_words(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                              const char *text, size_t n_bytes, size_t offset) {
    sp_word_walk *walk = encoding->scratch->walk;
    sp_word_walk_begin(walk, text, n_bytes);
    for (;;) {
        sp_piece word = {0};
        bool found = false;
        SP_TRY(sp_word_walk_next(&tokenizer->pretokenizer, walk, &word, &found));
        if (!found) return SP_OK;
        SP_TRY(encode_word(tokenizer, encoding, word.bytes, word.n_bytes,
                           (ptrdiff_t)offset + word.offset));
    }
}

/* Text without added tokens, at `offset`: valid UTF-8 goes through the pre-tokenizer, the bytes
   between are words of their own. */
static sp_status encode_plain(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                              const char *text, size_t n_bytes, size_t offset) {
    for (size_t at = 0; at < n_bytes;) {
        const size_t valid = sp_utf8_valid_prefix(text + at, n_bytes - at);
        SP_TRY(encode_words(tokenizer, encoding, text + at, valid, offset + at));
        at += valid;
        const size_t invalid = sp_utf8_invalid_prefix(text + at, n_bytes - at);
        if (invalid > 0)
            SP_TRY(encode_word(tokenizer, encoding, text + at, invalid, (ptrdiff_t)(offset + at)));
        at += invalid;
    }
    return SP_OK;
}

static sp_status append_added(sp_encoding *encoding, const sp_added_match *match, size_t offset) {
    SP_TRY(reserve(encoding, 1));
    encoding->ids[encoding->n] = match->token->id;
    encoding->ends[encoding->n++] = offset + match->end;
    return SP_OK;
}

/* Normalized text, at `offset`. */
static sp_status encode_normalized(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                   const char *text, size_t n_bytes, size_t offset,
                                   bool parse_special) {
    const sp_trie *trie = &tokenizer->added.normalized;
    sp_added_walk walk = {0};
    for (size_t begin = 0;;) {
        const sp_added_match match =
            sp_added_walk_next(&tokenizer->added, trie, &walk, text, n_bytes, parse_special);
        SP_TRY(
            encode_plain(tokenizer, encoding, text + begin, match.begin - begin, offset + begin));
        if (match.token == NULL) return SP_OK;
        SP_TRY(append_added(encoding, &match, offset));
        begin = match.end;
    }
}

/* Text between two added tokens, at `offset`. */
static sp_status encode_section(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                const char *text, size_t n_bytes, size_t offset,
                                bool parse_special) {
    if (!tokenizer->has_nfc)
        return encode_normalized(tokenizer, encoding, text, n_bytes, offset, parse_special);
    sp_nfc *nfc = &encoding->scratch->nfc;
    const size_t first = encoding->n;
    SP_TRY(sp_nfc_normalize(nfc, text, n_bytes));
    SP_TRY(encode_normalized(tokenizer, encoding, nfc->bytes, nfc->n_bytes, 0, parse_special));
    size_t change = 0;
    for (size_t i = first; i < encoding->n; i++)
        encoding->ends[i] = offset + sp_nfc_text_offset(nfc, encoding->ends[i], &change);
    return SP_OK;
}

static sp_status encode_text(const sp_tokenizer *tokenizer, sp_encoding *encoding, const char *text,
                             size_t n_bytes, bool parse_special) {
    const sp_trie *trie = &tokenizer->added.raw;
    sp_added_walk walk = {0};
    for (size_t begin = 0;;) {
        const sp_added_match match =
            sp_added_walk_next(&tokenizer->added, trie, &walk, text, n_bytes, parse_special);
        SP_TRY(encode_section(tokenizer, encoding, text + begin, match.begin - begin, begin,
                              parse_special));
        if (match.token == NULL) return SP_OK;
        SP_TRY(append_added(encoding, &match, 0));
        begin = match.end;
    }
}

/* Ends fall only where an added token lies in white space that another one took; the last one is
   not the text's only where the last bytes have no token. */
static void finish_ends(sp_encoding *encoding, size_t n_bytes) {
    for (size_t i = 1; i < encoding->n; i++)
        if (encoding->ends[i] < encoding->ends[i - 1]) encoding->ends[i] = encoding->ends[i - 1];
    if (encoding->n > 0) encoding->ends[encoding->n - 1] = n_bytes;
}

sp_status sp_tokenizer_encode(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                              const char *text, size_t n_bytes, bool parse_special) {
    SP_TRY(prepare(encoding, tokenizer));
    if (n_bytes > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "a text of %zu bytes; %d are allowed", n_bytes, INT32_MAX);
    const sp_status status = encode_text(tokenizer, encoding, text, n_bytes, parse_special);
    if (status != SP_OK) encoding->n = 0;
    finish_ends(encoding, n_bytes);
    return status;
}
