/* Byte-pair encoding (Sennrich et al., 2016) of one word: starting from the tokens of its single
   bytes or characters, the pair of neighbours with the lowest rank, the leftmost of equals, is
   merged into one token until no pair has a rank.

   Words of bytes belong to a byte-level vocabulary, words of characters to SentencePiece's kind. A
   character without a token falls back to the tokens of its bytes, <0x00> to <0xFF>, where the
   model says so and has them; a byte that is no UTF-8 is such a character. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "text/character_ids.h"
#include "text/merges.h"
#include "text/seams.h"
#include "text/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_bpe {
    sp_merges merges;
    sp_character_ids character_ids; /* for words of characters */
    sp_seams seams;                 /* the same */
    int32_t byte_ids[256];          /* the token of each byte, or that it falls back to, or -1 */
    int32_t unknown_id;             /* stands for what has no token; -1: such a thing is dropped */
    bool fuse_unknown;              /* one unknown_id for a run of them */
    bool ignore_merges;             /* a word that is a token as a whole is that token */
    bool byte_fallback;
    bool is_byte_level;
} sp_bpe; /* all zero: may be freed */

/* Tokens of one word in order; grows as needed. All zero: empty. */
typedef struct sp_bpe_word {
    struct sp_symbol *symbols; /* [capacity], owned; private */
    struct sp_candidate *heap; /* [2 * capacity], owned; private; for long words only */
    size_t capacity, heap_capacity;
    int32_t *ids;   /* [n], owned */
    uint32_t *lens; /* [n], owned: bytes of the word that each token takes */
    size_t n;
} sp_bpe_word;

void sp_bpe_word_free(sp_bpe_word *word);

/* Checks that a tokenizer.json's member "model" is BPE without options that are not covered. */
SP_NODISCARD sp_status sp_bpe_check_options(const json_t *model, bool is_byte_level,
                                            const char *name);

/* Reads a tokenizer.json's member "model", checked, over its vocabulary. SP_BAD_DATA: a merge of or
   into a token that does not exist. */
SP_NODISCARD sp_status sp_bpe_read(sp_bpe *bpe, const json_t *model,
                                   const sp_vocabulary *vocabulary, const char *name);

void sp_bpe_free(sp_bpe *bpe);

/* Replaces *word by the tokens of n_bytes bytes, fewer than 2^31. O(n log n). */
SP_NODISCARD sp_status sp_bpe_encode(const sp_bpe *bpe, const sp_vocabulary *vocabulary,
                                     sp_bpe_word *word, const char *bytes, size_t n_bytes);

/* Whether a word may be cut at its seams (sp_seams_first) without another result. */
static inline bool sp_bpe_has_seams(const sp_bpe *bpe) {
    return !bpe->is_byte_level && !bpe->ignore_merges;
}
