/* Byte-pair encoding (Sennrich et al., 2016) of one word: starting from the tokens of its single
   bytes, the pair of neighbours with the lowest rank, the leftmost of equals, is merged into one
   token until no pair has a rank. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "text/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a pair of tokens merges into. */
typedef struct sp_merge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* its index in the list of merges; SP_BPE_NO_RANK: a free slot */
    int32_t id;           /* the merged token */
} sp_merge;

#define SP_BPE_NO_RANK UINT32_MAX

typedef struct sp_bpe {
    sp_merge *slots; /* [slot_mask + 1], owned: hash table over (left, right) */
    size_t slot_mask;
    int32_t byte_ids[256]; /* the token of each byte, or -1 */
    int32_t unknown_id;    /* stands for a byte without token; -1: such a byte is dropped */
    bool fuse_unknown;     /* one unknown_id for a run of them */
    bool ignore_merges;    /* a word that is a token as a whole is that token */
} sp_bpe;

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
SP_NODISCARD sp_status sp_bpe_check_options(const json_t *model, const char *name);

/* Reads a tokenizer.json's member "model", checked, over its vocabulary. SP_BAD_DATA: a merge of or
   into a token that does not exist. */
SP_NODISCARD sp_status sp_bpe_read(sp_bpe *bpe, const json_t *model,
                                   const sp_vocabulary *vocabulary, const char *name);

void sp_bpe_free(sp_bpe *bpe);

/* Replaces *word by the tokens of n_bytes bytes, fewer than 2^31. O(n log n). */
SP_NODISCARD sp_status sp_bpe_encode(const sp_bpe *bpe, const sp_vocabulary *vocabulary,
                                     sp_bpe_word *word, const char *bytes, size_t n_bytes);
