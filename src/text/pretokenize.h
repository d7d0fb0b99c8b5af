/* Pre-tokenizer: cuts text into the words that BPE merges within, by the steps of tokenizer.json's
   "pre_tokenizer". Each step cuts each piece that the step before it made, as a text of its own:

       Split      by a pattern; what becomes of the matches is the behaviour
       Digits     Split by \p{N}
       ByteLevel  Split by GPT-2's pattern if use_regex is set; before that a space is put in front
                  of each piece that has none if add_prefix_space is set

   ByteLevel comes last, and must be there: words are bytes. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "text/regex.h"

#include <stdbool.h>
#include <stddef.h>

/* What becomes of the pieces that match a Split's pattern, and of those between them. */
typedef enum sp_split_behavior {
    SP_SPLIT_ISOLATED,             /* each is a piece */
    SP_SPLIT_REMOVED,              /* matches go */
    SP_SPLIT_MERGED_WITH_PREVIOUS, /* a match joins the piece before it */
    SP_SPLIT_MERGED_WITH_NEXT,     /* a match joins the piece after it */
    SP_SPLIT_CONTIGUOUS,           /* matches that touch are one piece */
} sp_split_behavior;

typedef struct sp_pretokenizer_step {
    sp_regex *regex; /* owned; NULL: puts a space in front of a piece that has none */
    sp_split_behavior behavior;
    bool is_inverted; /* what does not match counts as the match */
} sp_pretokenizer_step;

enum { SP_PRETOKENIZER_STEPS = 16 };

typedef struct sp_pretokenizer {
    sp_pretokenizer_step steps[SP_PRETOKENIZER_STEPS];
    size_t n_steps;
} sp_pretokenizer; /* all zero: the whole text is one word */

/* Reads a tokenizer.json's "pre_tokenizer". SP_BAD_DATA: an unknown type or member value, a
   pattern that does not compile, no ByteLevel at the end. */
SP_NODISCARD sp_status sp_pretokenizer_read(sp_pretokenizer *pretokenizer, const json_t *object,
                                            const char *name);

void sp_pretokenizer_free(sp_pretokenizer *pretokenizer);

/* Some bytes of the text, or of a copy with a space put in front. */
typedef struct sp_piece {
    const char *bytes;
    size_t n_bytes;
    ptrdiff_t offset; /* of bytes[0] in the text; one less for a space put in front */
} sp_piece;

/* Walks over the words of a text, and then of the next one. Belongs to one thread. */
typedef struct sp_word_walk sp_word_walk;

SP_NODISCARD sp_status sp_word_walk_create(sp_word_walk **walk);
void sp_word_walk_destroy(sp_word_walk *walk);

/* Begins with n_bytes of valid UTF-8, borrowed until the walk's end. */
void sp_word_walk_begin(sp_word_walk *walk, const char *text, size_t n_bytes);

/* The next word, or *found false at the end. *word is borrowed until the next call. SP_BAD_DATA: a
   pattern takes too many steps. */
SP_NODISCARD sp_status sp_word_walk_next(const sp_pretokenizer *pretokenizer, sp_word_walk *walk,
                                         sp_piece *word, bool *found);
