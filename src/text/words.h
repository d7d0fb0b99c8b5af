/* The words that text metrics count, by each metric's own definition.

   Text is UTF-8; bytes that are not are kept, and separate nothing. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_word {
    char *bytes; /* borrowed from the list */
    size_t n_bytes;
} sp_word;

typedef struct sp_words {
    sp_word *words; /* [n], owned */
    size_t n;
    char *text; /* what the words point into, owned */
} sp_words;     /* all zero: empty */

void sp_words_free(sp_words *words);

/* All three read n_bytes of text into *words, to be released by sp_words_free(). SP_FAILURE: no
   memory; *words is then untouched. */

/* What stands between white space, as Python's str.split(). */
SP_NODISCARD sp_status sp_words_split(sp_words *words, const char *text, size_t n_bytes);

/* sacrebleu's "13a" (mteval-v13a): also cut at punctuation, but not at . and , between digits. */
SP_NODISCARD sp_status sp_words_13a(sp_words *words, const char *text, size_t n_bytes);

/* rouge_score's: runs of a-z and 0-9 after lower-casing. */
SP_NODISCARD sp_status sp_words_alphanumeric(sp_words *words, const char *text, size_t n_bytes);

/* Numbers the words of two lists, so that equal words, and only they, have equal numbers: a_ids
   [a->n] and b_ids [b->n]. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_words_number(uint32_t *a_ids, const sp_words *a, uint32_t *b_ids,
                                       const sp_words *b);
