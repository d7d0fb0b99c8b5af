/* A text made from another by replacing parts of it, aligned with it: every offset in the result
   has one in the source.

   The parts that change are handed in from left to right, between begin and end. What changes
   nowhere is not copied. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* A part that was replaced. What lies between two of them is the same in source and result. */
typedef struct sp_aligned_change {
    uint32_t source_begin, source_end;
    uint32_t result_begin, result_end;
} sp_aligned_change;

/* Grows as needed, reusable. All zero: empty. */
typedef struct sp_aligned_text {
    const char
        *bytes; /* the result: borrowed from the source if n_changes is 0, else from `buffer` */
    size_t n_bytes;
    sp_aligned_change *changes; /* [n_changes], rising, owned */
    size_t n_changes;
    const char *source; /* borrowed from begin to the last use */
    size_t n_source;
    char *buffer; /* owned */
    size_t buffer_capacity, changes_capacity;
    size_t last_change, last_offset; /* where sp_aligned_source_offset stands */
} sp_aligned_text;

/* Begins anew with n_source bytes, fewer than 2^31, that stay where they are while the result is in
   use. */
void sp_aligned_begin(sp_aligned_text *aligned, const char *source, size_t n_source);

/* Puts n_bytes in the place of the source's [begin, end), which lies behind the parts replaced
   before and may be empty. SP_FAILURE: no memory; SP_BAD_DATA: the result passes 2^31 bytes. */
SP_NODISCARD sp_status sp_aligned_replace(sp_aligned_text *aligned, size_t begin, size_t end,
                                          const char *bytes, size_t n_bytes);

/* Completes the result: `bytes` and `n_bytes` are valid from here on. Fails as replace does. */
SP_NODISCARD sp_status sp_aligned_end(sp_aligned_text *aligned);

void sp_aligned_free(sp_aligned_text *aligned);

/* Where in the source the result's offset lies; inside a replaced part, at that part's end. Quick
   for offsets that rise from call to call. */
size_t sp_aligned_source_offset(sp_aligned_text *aligned, size_t offset);
