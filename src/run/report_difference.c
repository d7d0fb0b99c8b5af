#include "run/report_difference.h"

#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PIECES = 3000 }; /* words, and the space between them; their square is 18 MB */

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* The end of the piece that begins at `at`: words and white space take turns. */
static size_t piece_end(const char *text, size_t n, size_t at) {
    size_t end = at + 1;
    while (end < n && is_space(text[end]) == is_space(text[at])) end++;
    return end;
}

static sp_status split(sp_text_pieces *pieces, const char *text, size_t n) {
    size_t n_pieces = 0;
    void *items = NULL;
    for (size_t at = 0; at < n; at = piece_end(text, n, at)) n_pieces++;
    const bool is_long = n_pieces > MOST_PIECES;
    if (is_long) n_pieces = 1;
    if (n_pieces == 0) return SP_OK;
    SP_TRY(sp_alloc_array(&items, n_pieces, sizeof *pieces->items, "words of a sample"));
    pieces->items = items;
    for (size_t at = 0, end; at < n; at = end) {
        end = is_long ? n : piece_end(text, n, at);
        pieces->items[pieces->n++] = (sp_text_piece){text + at, end - at, is_long};
    }
    return SP_OK;
}

static bool is_equal(const sp_text_piece *a, const sp_text_piece *b) {
    return a->n_bytes == b->n_bytes && memcmp(a->text, b->text, a->n_bytes) == 0;
}

/* lengths [(n + 1) (m + 1)]: of the longest common subsequence of left's pieces from i on and right's
   from j on. */
static void find_lengths(uint16_t *lengths, const sp_text_pieces *left,
                         const sp_text_pieces *right) {
    const size_t width = right->n + 1;
    for (size_t i = left->n; i-- > 0;) {
        for (size_t j = right->n; j-- > 0;) {
            const uint16_t without_left = lengths[(i + 1) * width + j];
            const uint16_t without_right = lengths[i * width + j + 1];
            if (is_equal(&left->items[i], &right->items[j]))
                lengths[i * width + j] = (uint16_t)(lengths[(i + 1) * width + j + 1] + 1);
            else
                lengths[i * width + j] =
                    without_left > without_right ? without_left : without_right;
        }
    }
}

static void mark_common(const uint16_t *lengths, sp_text_pieces *left, sp_text_pieces *right) {
    const size_t width = right->n + 1;
    size_t i = 0, j = 0;
    while (i < left->n && j < right->n) {
        if (is_equal(&left->items[i], &right->items[j])) {
            left->items[i++].is_common = true;
            right->items[j++].is_common = true;
        } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) {
            i++;
        } else {
            j++;
        }
    }
}

static void mark_all(sp_text_pieces *pieces) {
    for (size_t i = 0; i < pieces->n; i++) pieces->items[i].is_common = true;
}

sp_status sp_text_compare(sp_text_pieces *left, const char *left_text, size_t n_left,
                          sp_text_pieces *right, const char *right_text, size_t n_right) {
    SP_TRY(split(left, left_text, n_left));
    SP_TRY(split(right, right_text, n_right));
    const bool is_long =
        (left->n == 1 && left->items[0].is_common) || (right->n == 1 && right->items[0].is_common);
    if (is_long) {
        mark_all(left);
        mark_all(right);
        return SP_OK;
    }
    void *lengths = NULL;
    SP_TRY(sp_alloc_array(&lengths, (left->n + 1) * (right->n + 1), sizeof(uint16_t),
                          "comparing a sample"));
    find_lengths(lengths, left, right);
    mark_common(lengths, left, right);
    free(lengths);
    return SP_OK;
}

void sp_text_pieces_free(sp_text_pieces *pieces) {
    free(pieces->items);
    *pieces = (sp_text_pieces){0};
}
