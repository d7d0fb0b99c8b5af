/* Vocabulary: token ids, the bytes that each stands for, and the id of given bytes.

   Ids may have gaps. In a byte-level vocabulary a token is kept as the bytes that its spelling
   stands for, and one whose spelling is outside the byte-level alphabet as the bytes of the
   spelling itself; in a vocabulary of characters (SentencePiece's kind) every token is kept as it
   is spelled. */
#pragma once

#include "base/json.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_VOCABULARY_MAX = 1 << 22, /* ids; some four times the largest vocabulary in use */
    SP_SPELLING_MAX = 16384      /* bytes; some sixteen times the longest token in use */
};

typedef enum sp_token_kind {
    SP_TOKEN_ABSENT = 0, /* a gap: no token has this id */
    SP_TOKEN_BYTES,      /* stands for its bytes in a word */
    SP_TOKEN_LITERAL,    /* outside the byte-level alphabet: no word's bytes become this token */
} sp_token_kind;

typedef struct sp_token {
    const char *bytes; /* borrowed from the vocabulary */
    uint32_t n_bytes;
    sp_token_kind kind;
} sp_token;

typedef struct sp_vocabulary {
    sp_token *tokens; /* [n], owned */
    size_t n;         /* the largest id + 1 */
    size_t n_present; /* tokens that are no gap */
    char *bytes;      /* what the tokens stand for, one after the other, owned */
    uint32_t *slots;  /* [slot_mask + 1], owned: hash table of ids + 1 of SP_TOKEN_BYTES, 0 free */
    size_t slot_mask;
    bool is_byte_level;
} sp_vocabulary; /* all zero: empty */

/* Reads {"spelling": id, ...}; is_byte_level says how it is spelled. SP_BAD_DATA: not such an object, an id that is no integer, out of
   range or given twice, a spelling that is too long. */
SP_NODISCARD sp_status sp_vocabulary_read(sp_vocabulary *vocabulary, const json_t *object,
                                          bool is_byte_level, const char *name);

void sp_vocabulary_free(sp_vocabulary *vocabulary);

/* Id of the token that stands for these bytes, or -1. */
int32_t sp_vocabulary_find_bytes(const sp_vocabulary *vocabulary, const char *bytes,
                                 size_t n_bytes);

/* Id of the token of this spelling, or -1. */
int32_t sp_vocabulary_find(const sp_vocabulary *vocabulary, const char *spelling,
                           size_t n_spelling);
