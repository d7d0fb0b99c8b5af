/* Replacement of all that matches a pattern, the leftmost first: the component "Replace" of
   tokenizer.json's normalizers and decoders. */
#pragma once

#include "base/json.h"
#include "text/aligned_text.h"
#include "text/regex.h"

typedef struct sp_replacement {
    sp_regex *regex; /* owned; NULL: the pattern is the literal */
    char *literal;   /* owned, not empty */
    size_t literal_len;
    char *content; /* owned: what is put in the place of a match */
    size_t content_len;
} sp_replacement; /* all zero: empty, may be freed */

/* Makes the replacement of a literal, not empty. */
SP_NODISCARD sp_status sp_replacement_create(sp_replacement *replacement, const char *literal,
                                             const char *content);

/* Reads {"pattern": {"String": ..} or {"Regex": ..}, "content": ..}. `name` stands for the file in
   messages. SP_BAD_DATA: not that, or a pattern that does not compile. */
SP_NODISCARD sp_status sp_replacement_read(sp_replacement *replacement, const json_t *object,
                                           const char *name);

void sp_replacement_free(sp_replacement *replacement);

/* Replaces *replaced by n_bytes of text, borrowed while it is in use, with every match replaced.
   Bytes that are no UTF-8 match nothing but a literal's. SP_BAD_DATA: a pattern takes too many
   steps, or the result is too long. */
SP_NODISCARD sp_status sp_replacement_apply(const sp_replacement *replacement,
                                            sp_regex_search *search, sp_aligned_text *replaced,
                                            const char *text, size_t n_bytes);
