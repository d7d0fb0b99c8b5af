/* Unicode normalization form C of text that may hold bytes that are no UTF-8 (kept as they are),
   with the way back from an offset in the result to the text.

   Text is normalized cluster by cluster: a character and those after it that might compose with it
   or be reordered with it. Nearly all text is in this form already, and is then not copied. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* A cluster that was changed. */
typedef struct sp_nfc_change {
    size_t text_begin, text_end;     /* in the text */
    size_t result_begin, result_end; /* in the result */
} sp_nfc_change;

/* A normalized text; grows as needed, reusable. All zero: empty. */
typedef struct sp_nfc {
    const char *bytes; /* borrowed from the text if n_changes is 0, else from `buffer` */
    size_t n_bytes;
    sp_nfc_change *changes; /* [n_changes], rising, owned */
    size_t n_changes;
    char *buffer; /* owned */
    size_t buffer_capacity, changes_capacity;
    int32_t *characters; /* scratch, owned */
    size_t characters_capacity;
} sp_nfc;

/* Replaces *nfc by n_bytes of text, normalized. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_nfc_normalize(sp_nfc *nfc, const char *text, size_t n_bytes);

void sp_nfc_free(sp_nfc *nfc);

/* Where in the text the result's offset lies, for offsets that rise from call to call; *change is
   0 before the first. Inside a change it is the byte before the change's end, which lies within a
   character. */
size_t sp_nfc_text_offset(const sp_nfc *nfc, size_t offset, size_t *change);
