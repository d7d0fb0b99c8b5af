/* Pre-tokenizer: how text is cut into the words that BPE merges within, by the steps of
   tokenizer.json's "pre_tokenizer". Each step takes each piece that the step before it made as a
   text of its own, and either cuts it or rewrites its spaces:

       Split      cuts by a pattern; what becomes of the matches is the behaviour
       Digits     cuts by \p{N}
       Metaspace  writes each space as another character, puts one in front of the pieces that its
                  prepend_scheme names unless they begin with one, and cuts before each if split
                  is set
       ByteLevel  puts a space in front of each piece that has none if add_prefix_space is set, and
                  cuts by GPT-2's pattern if use_regex is set

   ByteLevel is the last step where there is one; words are then bytes, else characters. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "text/regex.h"
#include "text/unicode.h"

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

/* Which pieces get a space in front. */
typedef enum sp_prefix_rule {
    SP_PREFIX_NEVER,
    SP_PREFIX_FIRST, /* the one that begins the text */
    SP_PREFIX_ALWAYS,
} sp_prefix_rule;

typedef struct sp_pretokenizer_step {
    sp_regex *regex; /* owned; NULL: the step rewrites, else it cuts */
    sp_split_behavior behavior;
    bool is_inverted;            /* what does not match counts as the match */
    char space[SP_UTF8_MAX + 1]; /* what a space is written as, " " too */
    sp_prefix_rule prefix;
} sp_pretokenizer_step;

enum { SP_PRETOKENIZER_STEPS = 16 };

typedef struct sp_pretokenizer {
    sp_pretokenizer_step steps[SP_PRETOKENIZER_STEPS]; /* [n_steps], one rewrites at most */
    size_t n_steps;
    bool rewrites;      /* one of the steps does */
    bool is_byte_level; /* words are bytes, else characters */
} sp_pretokenizer;      /* all zero: the whole text is one word */

/* Reads a tokenizer.json's "pre_tokenizer": null, one of the above or a Sequence of them. `name`
   stands for the file in messages. SP_BAD_DATA: an unknown type, which is named, or member value,
   a pattern that does not compile, a step after ByteLevel. */
SP_NODISCARD sp_status sp_pretokenizer_read(sp_pretokenizer *pretokenizer, const json_t *object,
                                            const char *name);

void sp_pretokenizer_free(sp_pretokenizer *pretokenizer);
