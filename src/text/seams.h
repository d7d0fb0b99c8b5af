/* Seams: places in a text that no merge reaches across. Kinds without a pre-tokenizer have the whole
   text as one word; cut at its seams it gives the same tokens, from short words that are met again
   and again.

   Between characters x and y, each a token of its own, there is a seam if no merge has a left token
   that ends in x and a right one that begins with y: whatever becomes one token over that place has
   been put together by such a merge. SentencePiece's vocabularies keep the space at a word's start
   only, so that nearly every word has a seam before it. */
#pragma once

#include "base/status.h"
#include "text/character_ids.h"
#include "text/merges.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_seams {
    uint64_t ascii[128][2]; /* bit y of x: some merge joins the two */
    uint64_t *joined; /* [joined_mask + 1], owned: hash table of the other pairs x, y that some
                               merge joins, as x << 32 | y, or free */
    size_t joined_mask;
} sp_seams; /* all zero: may be freed */

/* Finds out which characters the merges of a vocabulary of characters join. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_seams_fill(sp_seams *seams, const sp_merges *merges,
                                     const sp_vocabulary *vocabulary);

void sp_seams_free(sp_seams *seams);

/* Length of the text up to its first seam, or of all n_bytes > 0 of it. The text is valid UTF-8. */
size_t sp_seams_first(const sp_seams *seams, const sp_character_ids *ids, const char *text,
                      size_t n_bytes);
