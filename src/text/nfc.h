/* Unicode normalization form C of text that may hold bytes that are no UTF-8 (kept as they are), by
   the tables of Unicode 9, as Hugging Face's tokenizers has them: marks of later versions stay where
   they are.

   Text is normalized cluster by cluster: a character and those after it that might compose with it
   or be reordered with it. Nearly all text is in this form already, and is then not copied. */
#pragma once

#include "base/status.h"
#include "text/aligned_text.h"

#include <stddef.h>
#include <stdint.h>

/* Room for one cluster; grows as needed, reusable. All zero: empty. */
typedef struct sp_nfc_scratch {
    int32_t *characters; /* owned */
    char *bytes;         /* owned */
    size_t characters_capacity, bytes_capacity;
} sp_nfc_scratch;

/* Replaces *normalized by n_bytes of text, borrowed while it is in use, in form C. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_nfc_normalize(sp_aligned_text *normalized, sp_nfc_scratch *scratch,
                                        const char *text, size_t n_bytes);

void sp_nfc_scratch_free(sp_nfc_scratch *scratch);
