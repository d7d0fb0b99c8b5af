/* Word cache: the tokens of recent short words, so that the frequent words of a text are merged
   once. Belongs to one thread and to one tokenizer. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_WORD_CACHE_BYTES = 32, /* longest word that is kept */
    SP_WORD_CACHE_TOKENS = 6  /* most tokens of one that is kept */
};

/* One cache line. */
typedef struct sp_cached_word {
    char word[SP_WORD_CACHE_BYTES]; /* zero beyond n_bytes */
    int32_t ids[SP_WORD_CACHE_TOKENS];
    uint8_t lens[SP_WORD_CACHE_TOKENS]; /* bytes of each token */
    uint8_t n_bytes, n_tokens;          /* n_bytes 0: free */
} sp_cached_word;

typedef struct sp_word_cache {
    sp_cached_word *words; /* [power of two], owned */
} sp_word_cache;           /* all zero: nothing allocated yet */

SP_NODISCARD sp_status sp_word_cache_reserve(sp_word_cache *cache);
void sp_word_cache_release(sp_word_cache *cache);

/* Forgets all words: what stands in the cache belongs to another tokenizer. */
void sp_word_cache_clear(sp_word_cache *cache);

/* The place for a word of 1..SP_WORD_CACHE_BYTES bytes. *found tells whether it holds the word's
   tokens; else it is prepared with the word, n_tokens is 0 and the caller fills in the tokens, or
   sets n_bytes to 0 where they are too many. Borrowed until the next call. */
sp_cached_word *sp_word_cache_find(sp_word_cache *cache, const char *word, size_t n_bytes,
                                   bool *found);
