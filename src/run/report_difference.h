/* Where a reconstruction differs from its text: words of each that the other lacks, by a longest common
   subsequence of words. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_text_piece {
    const char *text; /* borrowed: a word, or the white space before one */
    size_t n_bytes;
    bool is_common;
} sp_text_piece;

typedef struct sp_text_pieces {
    sp_text_piece *items; /* [n], owned */
    size_t n;
} sp_text_pieces; /* all zero: none */

/* Takes both texts apart, which join to the texts again. Texts of more than 1,500 words are not
   compared: all is common. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_text_compare(sp_text_pieces *left, const char *left_text, size_t n_left,
                                       sp_text_pieces *right, const char *right_text,
                                       size_t n_right);
void sp_text_pieces_free(sp_text_pieces *pieces);
