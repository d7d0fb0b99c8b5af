#include "text/nfc.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* No character below takes part in a composition except as the first, none is a mark, and each is
   its own composed form. */
enum { FIRST_OF_INTEREST = 0x300 };

/* Longest canonical decomposition of one character (U+1F82 and its like), and what it may grow by
   when the text's characters are written anew: 2 bytes to 3 times 3 at most (U+1D160: 4 to 12). */
enum { MAX_DECOMPOSITION = 4, MAX_GROWTH = 4 };

/* Marks that Unicode got after version 9, whose tables the reference has: to it they are characters
   like any other, which stay where they are. (U+11930 is there since it composes; up to Unicode
   15.) */
/* clang-format off */
static const struct {
    uint32_t first, last;
} later_marks[] = {
    {0x7FD, 0x7FD}, {0x898, 0x89F}, {0x8CA, 0x8D3}, {0x9FE, 0x9FE}, {0xC3C, 0xC3C}, {0xD3B, 0xD3C},
    {0xEBA, 0xEBA}, {0x1715, 0x1715}, {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFA}, {0xA82C, 0xA82C},
    {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E},
    {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
};
/* clang-format on */
enum { N_LATER_MARKS = sizeof later_marks / sizeof *later_marks, LATER_COMPOSITION = 0x11938 };

static bool is_later_mark(uint32_t character) {
    size_t low = 0, high = N_LATER_MARKS;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (later_marks[middle].last < character)
            low = middle + 1;
        else
            high = middle;
    }
    return low < N_LATER_MARKS && later_marks[low].first <= character;
}

/* Whether a character may change, or move across, the one before it: marks, and the Hangul vowels
   and finals. (All others have combining class 0 and compose with nothing to their left.) */
static bool joins_previous(uint32_t character) {
    if (character < FIRST_OF_INTEREST) return false;
    if (character >= 0x1160 && character <= 0x11FF) return true;
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
    return (category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
            category == UTF8PROC_CATEGORY_ME) &&
           !is_later_mark(character);
}

/* Whether a character alone, as the whole cluster, is in form C. */
static bool is_stable(uint32_t character) {
    return character < FIRST_OF_INTEREST || character == LATER_COMPOSITION ||
           utf8proc_get_property((utf8proc_int32_t)character)->decomp_seqindex == UINT16_MAX;
}

static int combining_class(utf8proc_int32_t character) {
    const int class = utf8proc_get_property(character)->combining_class;
    return class != 0 && is_later_mark((uint32_t)character) ? 0 : class;
}

/* Sorts runs of marks by their class, equal ones in order: n characters at `marks`, with as much
   scratch. Merge sort, so that no run of marks takes long. */
static void sort_marks(int32_t *marks, int32_t *scratch, size_t n) {
    if (n < 2) return;
    const size_t half = n / 2;
    sort_marks(marks, scratch, half);
    sort_marks(marks + half, scratch, n - half);
    size_t a = 0, b = half, k = 0;
    while (a < half && b < n)
        scratch[k++] =
            combining_class(marks[b]) < combining_class(marks[a]) ? marks[b++] : marks[a++];
    while (a < half) scratch[k++] = marks[a++];
    while (b < n) scratch[k++] = marks[b++];
    memcpy(marks, scratch, n * sizeof *marks);
}

static void order_canonically(int32_t *characters, int32_t *scratch, size_t n) {
    for (size_t begin = 0, end; begin < n; begin = end + 1) {
        for (end = begin; end < n && combining_class(characters[end]) != 0;) end++;
        sort_marks(characters + begin, scratch, end - begin);
    }
}

/* Decomposes valid text; at most MAX_DECOMPOSITION times its bytes, in characters. */
static size_t decompose(int32_t *characters, const char *text, size_t n_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t character;
        int last_class = 0;
        i += sp_utf8_decode(&character, text + i, n_bytes - i);
        n += (size_t)utf8proc_decompose_char((utf8proc_int32_t)character, characters + n,
                                             MAX_DECOMPOSITION, UTF8PROC_DECOMPOSE, &last_class);
    }
    return n;
}

/* Grows *block to at least n items. */
static sp_status reserve(void **block, size_t *capacity, size_t n, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    const size_t wanted = n + n / 2;
    void *grown = NULL;
    SP_TRY(sp_alloc_array(&grown, wanted, item_bytes, "normalizing text"));
    if (*block != NULL) memcpy(grown, *block, *capacity * item_bytes);
    free(*block);
    *block = grown;
    *capacity = wanted;
    return SP_OK;
}

/* Normalizes a cluster of more than one character, or one that is not stable, into
   scratch->bytes. */
static sp_status compose_cluster(sp_nfc_scratch *scratch, const char *cluster, size_t n_bytes,
                                 size_t *n_written) {
    const size_t room = MAX_DECOMPOSITION * n_bytes;
    SP_TRY(reserve((void **)&scratch->characters, &scratch->characters_capacity, 2 * room,
                   sizeof *scratch->characters));
    SP_TRY(reserve((void **)&scratch->bytes, &scratch->bytes_capacity, MAX_GROWTH * n_bytes, 1));
    size_t n = decompose(scratch->characters, cluster, n_bytes);
    order_canonically(scratch->characters, scratch->characters + room, n);
    n = (size_t)utf8proc_normalize_utf32(scratch->characters, (utf8proc_ssize_t)n,
                                         UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    *n_written = 0;
    for (size_t i = 0; i < n; i++)
        *n_written += sp_utf8_encode(scratch->bytes + *n_written, (uint32_t)scratch->characters[i]);
    return SP_OK;
}

/* The cluster at the start of the text: its length, and whether it must be looked at closely. A
   byte that is no UTF-8 is one of its own. */
static size_t cluster_length(const char *text, size_t n_bytes, bool *may_change) {
    uint32_t character;
    size_t length = sp_utf8_decode(&character, text, n_bytes);
    *may_change = false;
    if (length == 0) return 1;
    *may_change = !is_stable(character);
    for (size_t step; length < n_bytes; length += step) {
        step = sp_utf8_decode(&character, text + length, n_bytes - length);
        if (step == 0 || !joins_previous(character)) break;
        *may_change = true;
    }
    return length;
}

/* Length of the text's start that is below FIRST_OF_INTEREST, less the last character, which may
   have marks to come: bytes below 0xCC lead no others. */
static size_t plain_prefix(const char *text, size_t n_bytes) {
    size_t i = 0;
    while (i < n_bytes && (unsigned char)text[i] < 0xCC) i++;
    if (i == n_bytes || i == 0) return i;
    i--; /* such a character has two bytes at most */
    return i > 0 && ((unsigned char)text[i] & 0xC0) == 0x80 ? i - 1 : i;
}

sp_status sp_nfc_normalize(sp_aligned_text *normalized, sp_nfc_scratch *scratch, const char *text,
                           size_t n_bytes) {
    sp_aligned_begin(normalized, text, n_bytes);
    for (size_t begin = plain_prefix(text, n_bytes), end; begin < n_bytes;
         begin = end + plain_prefix(text + end, n_bytes - end)) {
        bool may_change;
        end = begin + cluster_length(text + begin, n_bytes - begin, &may_change);
        if (!may_change) continue;
        size_t n_written = 0;
        SP_TRY(compose_cluster(scratch, text + begin, end - begin, &n_written));
        if (n_written == end - begin && memcmp(scratch->bytes, text + begin, n_written) == 0)
            continue;
        SP_TRY(sp_aligned_replace(normalized, begin, end, scratch->bytes, n_written));
    }
    return sp_aligned_end(normalized);
}

void sp_nfc_scratch_free(sp_nfc_scratch *scratch) {
    free(scratch->characters);
    free(scratch->bytes);
    *scratch = (sp_nfc_scratch){0};
}
