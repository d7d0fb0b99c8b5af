/* Added tokens: tokens found in the text by their spelling, before it is cut into words.

   Of those that begin at one place the longest is taken, the leftmost first. A token marked
   `normalized` is looked for in its normalized spelling in normalized text, the others in the text
   as it is. With `lstrip` or `rstrip` a token takes the white space beside it along; with
   `single_word` it is passed over where a word character touches it. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_added_token {
    char *content; /* owned */
    size_t content_len;
    char *normalized_content; /* owned: what it is found by and decoded to; NULL: its content */
    size_t normalized_len;
    int32_t id;
    bool lstrip, rstrip, single_word, normalized, special;
} sp_added_token;

/* What the token is found by in the text, and decoded to. */
static inline const char *sp_added_token_spelling(const sp_added_token *token) {
    return token->normalized_content != NULL ? token->normalized_content : token->content;
}
static inline size_t sp_added_token_spelling_len(const sp_added_token *token) {
    return token->normalized_content != NULL ? token->normalized_len : token->content_len;
}

/* A node of a trie over spellings; children are a list in no order. */
typedef struct sp_trie_node {
    uint32_t child, sibling; /* nodes, 0: none */
    int32_t token;           /* that ends here, an index, or -1 */
    unsigned char byte;
} sp_trie_node;

typedef struct sp_trie {
    sp_trie_node *nodes; /* [n], owned; 0 is the root */
    size_t n, capacity;
    uint32_t first[256]; /* the root's child for a byte, or 0 */
} sp_trie;

typedef struct sp_added_tokens {
    sp_added_token *tokens; /* [n], owned */
    size_t n;
    sp_trie spellings;       /* of all tokens */
    sp_trie raw, normalized; /* of those to find before and after normalization */
} sp_added_tokens;

/* Reads a tokenizer.json's "added_tokens". As Hugging Face does: one whose spelling is in the
   vocabulary has its id there, others take the ids from the vocabulary's end on, in order; the
   file's own `id` is not used. The normalizer tells how normalized tokens are spelled. SP_BAD_DATA:
   not such a list. */
SP_NODISCARD sp_status sp_added_tokens_read(sp_added_tokens *added, const json_t *list,
                                            const sp_vocabulary *vocabulary,
                                            const sp_normalizer *normalizer, const char *name);

void sp_added_tokens_free(sp_added_tokens *added);

/* The token of this spelling, or NULL. */
const sp_added_token *sp_added_tokens_find(const sp_added_tokens *added, const char *content,
                                           size_t content_len);

typedef struct sp_added_match {
    const sp_added_token *token; /* NULL: no more; begin and end are then the text's end */
    size_t begin, end;           /* with the white space that it takes; a token that lies in what
                                    the one before took begins where that ended, yet ends where it
                                    stands, and the text goes on from there */
} sp_added_match;

/* Where a walk over a text's matches stands. All zero: at its start. */
typedef struct sp_added_walk {
    size_t search_from, taken_to;
} sp_added_walk;

/* The next match in n_bytes of text. With parse_special false, special tokens are passed over. */
sp_added_match sp_added_walk_next(const sp_added_tokens *added, const sp_trie *trie,
                                  sp_added_walk *walk, const char *text, size_t n_bytes,
                                  bool parse_special);
