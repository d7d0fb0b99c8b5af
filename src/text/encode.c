#include "base/memory.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/word_cache.h"
#include "text/word_walk.h"

#include <stdlib.h>
#include <string.h>

struct sp_tokenizer_scratch {
    sp_word_walk *walk;
    sp_bpe_word word;
    sp_word_cache cache;
    sp_normalized normalized;
    char digest[SP_TOKENIZER_DIGEST_SIZE]; /* of the tokenizer that filled the cache */
};

static void destroy_scratch(struct sp_tokenizer_scratch *scratch) {
    if (scratch == NULL) return;
    sp_normalized_free(&scratch->normalized);
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

static sp_status append_word(sp_encoding *encoding, const sp_bpe_word *word, size_t offset) {
    SP_TRY(reserve(encoding, word->n));
    for (size_t i = 0; i < word->n; i++) {
        offset += word->lens[i];
        encoding->ids[encoding->n] = word->ids[i];
        encoding->ends[encoding->n++] = offset;
    }
    return SP_OK;
}

static sp_status append_cached(sp_encoding *encoding, const sp_cached_word *word, size_t offset) {
    SP_TRY(reserve(encoding, SP_WORD_CACHE_TOKENS));
    for (size_t i = 0; i < word->n_tokens; i++) {
        offset += word->lens[i];
        encoding->ids[encoding->n] = word->ids[i];
        encoding->ends[encoding->n++] = offset;
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
                             const char *bytes, size_t n_bytes, size_t offset) {
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

/* Appends the tokens of a word of the pre-tokenizer, cut at its seams where that is the same. */
static sp_status encode_at_seams(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                 const char *bytes, size_t n_bytes, size_t offset) {
    const sp_bpe *bpe = &tokenizer->bpe;
    if (!sp_bpe_has_seams(bpe)) return encode_word(tokenizer, encoding, bytes, n_bytes, offset);
    for (size_t begin = 0, end; begin < n_bytes; begin = end) {
        end = begin +
              sp_seams_first(&bpe->seams, &bpe->character_ids, bytes + begin, n_bytes - begin);
        SP_TRY(encode_word(tokenizer, encoding, bytes + begin, end - begin, offset + begin));
    }
    return SP_OK;
}

/* Valid UTF-8, at `offset`. */
static sp_status encode_words(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                              const char *text, size_t n_bytes, size_t offset,
                              sp_text_place place) {
    sp_word_walk *walk = encoding->scratch->walk;
    sp_word_walk_begin(walk, text, n_bytes, place);
    for (;;) {
        sp_word word = {0};
        bool found = false;
        SP_TRY(sp_word_walk_next(&tokenizer->pretokenizer, walk, &word, &found));
        if (!found) return SP_OK;
        if (!tokenizer->pretokenizer.rewrites) {
            SP_TRY(encode_at_seams(tokenizer, encoding, word.bytes, word.n_bytes,
                                   offset + word.offset));
            continue;
        }
        const size_t first = encoding->n;
        SP_TRY(encode_at_seams(tokenizer, encoding, word.bytes, word.n_bytes, word.offset));
        for (size_t i = first; i < encoding->n; i++)
            encoding->ends[i] = offset + sp_word_walk_text_offset(walk, encoding->ends[i]);
    }
}

/* Text without added tokens, at `offset`: valid UTF-8 goes through the pre-tokenizer, the bytes
   between are words of their own. */
static sp_status encode_plain(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                              const char *text, size_t n_bytes, size_t offset,
                              sp_text_place place) {
    for (size_t at = 0; at < n_bytes;) {
        const size_t valid = sp_utf8_valid_prefix(text + at, n_bytes - at);
        SP_TRY(encode_words(tokenizer, encoding, text + at, valid, offset + at,
                            at == 0 ? place : SP_PLACE_WITHIN));
        at += valid;
        const size_t invalid = sp_utf8_invalid_prefix(text + at, n_bytes - at);
        if (invalid > 0) SP_TRY(encode_word(tokenizer, encoding, text + at, invalid, offset + at));
        at += invalid;
    }
    return SP_OK;
}

static sp_status append_added(sp_encoding *encoding, const sp_added_match *match) {
    SP_TRY(reserve(encoding, 1));
    encoding->ids[encoding->n] = match->token->id;
    encoding->ends[encoding->n++] = match->end;
    return SP_OK;
}

/* Normalized text between two added tokens; ends are counted in it. */
static sp_status encode_normalized(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                   const char *text, size_t n_bytes, sp_text_place place,
                                   sp_encode_options options) {
    const sp_added_tokens *added = &tokenizer->added;
    sp_added_walk walk = {0};
    for (size_t begin = 0;;) {
        const sp_added_match match = sp_added_walk_next(added, &added->normalized, &walk, text,
                                                        n_bytes, !options.specials_are_plain);
        SP_TRY(encode_plain(tokenizer, encoding, text + begin, match.begin - begin, begin,
                            begin == 0 ? place : SP_PLACE_WITHIN));
        if (match.token == NULL) return SP_OK;
        SP_TRY(append_added(encoding, &match));
        begin = match.end;
    }
}

/* Text between two added tokens, at `offset`. */
static sp_status encode_section(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                const char *text, size_t n_bytes, size_t offset,
                                sp_encode_options options) {
    sp_normalized *normalized = &encoding->scratch->normalized;
    const bool is_continuation = offset == 0 && options.is_continuation;
    const sp_text_place place = offset > 0        ? SP_PLACE_WITHIN
                                : is_continuation ? SP_PLACE_CONTINUATION
                                                  : SP_PLACE_START;
    const size_t first = encoding->n;
    SP_TRY(sp_normalizer_run(&tokenizer->normalizer, normalized, text, n_bytes, is_continuation));
    SP_TRY(encode_normalized(tokenizer, encoding, normalized->bytes, normalized->n_bytes, place,
                             options));
    if (normalized->n_steps == 0 && offset == 0) return SP_OK;
    for (size_t i = first; i < encoding->n; i++)
        encoding->ends[i] = offset + sp_normalized_text_offset(normalized, encoding->ends[i]);
    return SP_OK;
}

static sp_status encode_text(const sp_tokenizer *tokenizer, sp_encoding *encoding, const char *text,
                             size_t n_bytes, sp_encode_options options) {
    const sp_added_tokens *added = &tokenizer->added;
    sp_added_walk walk = {0};
    for (size_t begin = 0;;) {
        const sp_added_match match = sp_added_walk_next(added, &added->raw, &walk, text, n_bytes,
                                                        !options.specials_are_plain);
        SP_TRY(
            encode_section(tokenizer, encoding, text + begin, match.begin - begin, begin, options));
        if (match.token == NULL) return SP_OK;
        SP_TRY(append_added(encoding, &match));
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
                              const char *text, size_t n_bytes, sp_encode_options options) {
    SP_TRY(prepare(encoding, tokenizer));
    if (n_bytes > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "a text of %zu bytes; %d are allowed", n_bytes, INT32_MAX);
    const sp_status status = encode_text(tokenizer, encoding, text, n_bytes, options);
    if (status != SP_OK) encoding->n = 0;
    finish_ends(encoding, n_bytes);
    return status;
}
