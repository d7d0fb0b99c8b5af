/* Normalizer: what a text becomes before it is cut into words, by the steps of tokenizer.json's
   "normalizer", each over the result of the one before.

       NFC      Unicode normalization form C
       Prepend  a string in front of a text that is not empty: the dummy prefix of SentencePiece
       Replace  a string in the place of all that matches a pattern

   Texts may hold bytes that are no UTF-8; they stay as they are. */
#pragma once

#include "base/json.h"
#include "text/aligned_text.h"
#include "text/nfc.h"
#include "text/replacement.h"

#include <stdbool.h>

typedef enum sp_normalizer_kind {
    SP_NORMALIZER_NFC,
    SP_NORMALIZER_PREPEND,
    SP_NORMALIZER_REPLACE,
} sp_normalizer_kind;

typedef struct sp_normalizer_step {
    sp_normalizer_kind kind;
    char *prefix; /* of a Prepend, owned */
    size_t prefix_len;
    sp_replacement replacement; /* of a Replace */
} sp_normalizer_step;

enum { SP_NORMALIZER_STEPS = 8 };

typedef struct sp_normalizer {
    sp_normalizer_step steps[SP_NORMALIZER_STEPS];
    size_t n_steps;
} sp_normalizer; /* all zero: changes nothing */

/* Reads a tokenizer.json's "normalizer": null, one of the above or a Sequence of them. `name`
   stands for the file in messages. SP_BAD_DATA: an unknown type, which is named, or a member
   missing. */
SP_NODISCARD sp_status sp_normalizer_read(sp_normalizer *normalizer, const json_t *object,
                                          const char *name);

void sp_normalizer_free(sp_normalizer *normalizer);

/* A normalized text, and how it came about; reusable, belongs to one thread. All zero: empty. */
typedef struct sp_normalized {
    const char *bytes; /* borrowed from the text or from the last step that changed it */
    size_t n_bytes;
    sp_aligned_text steps[SP_NORMALIZER_STEPS]; /* [n_steps] of this text */
    size_t n_steps;
    sp_nfc_scratch nfc;
    sp_regex_search *search; /* owned; NULL until a pattern needs it */
} sp_normalized;

/* Replaces *normalized by n_bytes of text, fewer than 2^31, normalized; the text is borrowed while
   the result is in use. With is_continuation the text goes on from another one: nothing is
   prepended. SP_BAD_DATA: a pattern takes too many steps, or the result is too long. */
SP_NODISCARD sp_status sp_normalizer_run(const sp_normalizer *normalizer, sp_normalized *normalized,
                                         const char *text, size_t n_bytes, bool is_continuation);

/* Where in the text the normalized text's offset lies; inside what a step changed, at its end. */
size_t sp_normalized_text_offset(sp_normalized *normalized, size_t offset);

void sp_normalized_free(sp_normalized *normalized);
