#include "text/words.h"

#include "base/memory.h"
#include "base/size.h"
#include "text/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void sp_words_free(sp_words *words) {
    free(words->words);
    free(words->text);
    *words = (sp_words){0};
}

/* Length of the separator at the text's start, 0 if there is none: Python's str.isspace(), which
   has four control characters beside White_Space. */
static size_t separator_length(const char *text, size_t n_bytes) {
    uint32_t character = 0;
    const size_t len = sp_utf8_decode(&character, text, n_bytes);
    const bool separates =
        sp_unicode_is_space(character) || (character >= 0x1C && character <= 0x1F);
    return len > 0 && separates ? len : 0;
}

/* Cuts words->text, of n_bytes, at white space. */
static sp_status cut(sp_words *words, size_t n_bytes) {
    SP_TRY(sp_alloc_array((void **)&words->words, n_bytes / 2 + 1, sizeof *words->words,
                          "the words of a text"));
    size_t begin = 0; /* of the present word */
    for (size_t i = 0; i <= n_bytes;) {
        const size_t gap = separator_length(words->text + i, n_bytes - i);
        if ((gap > 0 || i == n_bytes) && begin < i)
            words->words[words->n++] = (sp_word){words->text + begin, i - begin};
        i += gap > 0 ? gap : 1;
        if (gap > 0) begin = i;
    }
    return SP_OK;
}

/* Takes a text over, cut into *words. */
static sp_status cut_owned(sp_words *words, char *text, size_t n_bytes) {
    sp_words result = {.text = text};
    const sp_status status = cut(&result, n_bytes);
    if (status == SP_OK)
        *words = result;
    else
        sp_words_free(&result);
    return status;
}

sp_status sp_words_split(sp_words *words, const char *text, size_t n_bytes) {
    char *copy = NULL;
    SP_TRY(sp_alloc((void **)&copy, n_bytes, "a text's words"));
    if (n_bytes > 0) memcpy(copy, text, n_bytes);
    return cut_owned(words, copy, n_bytes);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The first set of 13a's patterns: ASCII punctuation and the space, less ' , - and . */
static bool is_cut_always(char c) {
    return (c >= ' ' && c <= '~') && strchr("',-.", c) == NULL && !is_digit(c) &&
           !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z');
}

static bool is_point(char c) { return c == '.' || c == ','; }

static size_t without_trailing_space(const char *text, size_t n_bytes) {
    while (n_bytes > 0) {
        const size_t last = sp_utf8_last_character(text, n_bytes);
        if (separator_length(text + last, n_bytes - last) != n_bytes - last) break;
        n_bytes = last;
    }
    return n_bytes;
}

/* Replaces each `from` by `to`, which is not longer, in place; returns the new length. */
static size_t replace_all(char *text, size_t n_bytes, const char *from, const char *to) {
    const size_t from_len = strlen(from), to_len = strlen(to);
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        if (n_bytes - i >= from_len && memcmp(text + i, from, from_len) == 0) {
            memcpy(text + n, to, to_len);
            n += to_len;
            i += from_len;
        } else {
            text[n++] = text[i++];
        }
    }
    return n;
}

/* The four patterns, each over the whole result of the one before, from `in` to `out`. Bytes serve
   for characters: what is inserted stands beside ASCII only. */
static size_t cut_punctuation(char *out, const char *in, size_t n_in) {
    size_t n = 0;
    for (size_t i = 0; i < n_in; i++) {
        const bool cuts = is_cut_always(in[i]);
        if (cuts) out[n++] = ' ';
        out[n++] = in[i];
        if (cuts) out[n++] = ' ';
    }
    return n;
}

static size_t cut_points_after_no_digit(char *out, const char *in, size_t n_in) {
    size_t n = 0;
    for (size_t i = 0; i < n_in; i++) {
        out[n++] = in[i];
        if (is_digit(in[i]) || i + 1 == n_in || !is_point(in[i + 1])) continue;
        out[n++] = ' ';
        out[n++] = in[++i];
        out[n++] = ' ';
    }
    return n;
}

static size_t cut_points_before_no_digit(char *out, const char *in, size_t n_in) {
    size_t n = 0;
    for (size_t i = 0; i < n_in; i++) {
        const bool cuts = is_point(in[i]) && i + 1 < n_in && !is_digit(in[i + 1]);
        if (cuts) out[n++] = ' ';
        out[n++] = in[i];
        if (!cuts) continue;
        out[n++] = ' ';
        out[n++] = in[++i];
    }
    return n;
}

static size_t cut_dashes_after_digit(char *out, const char *in, size_t n_in) {
    size_t n = 0;
    for (size_t i = 0; i < n_in; i++) {
        out[n++] = in[i];
        if (!is_digit(in[i]) || i + 1 == n_in || in[i + 1] != '-') continue;
        out[n++] = ' ';
        out[n++] = in[++i];
        out[n++] = ' ';
    }
    return n;
}

/* Each byte is matched by three patterns at most, and each match adds two spaces. */
enum { GROWTH_13A = 7 };

sp_status sp_words_13a(sp_words *words, const char *text, size_t n_bytes) {
    static const char *const replacements[][2] = {{"<skipped>", ""}, {"-\n", ""},    {"\n", " "},
                                                  {"&quot;", "\""},  {"&amp;", "&"}, {"&lt;", "<"},
                                                  {"&gt;", ">"}};
    size_t n = without_trailing_space(text, n_bytes);
    char *a = NULL, *b = NULL;
    SP_TRY(sp_alloc_array((void **)&a, n + 2, GROWTH_13A, "a text's words"));
    const sp_status status = sp_alloc_array((void **)&b, n + 2, GROWTH_13A, "a text's words");
    if (status != SP_OK) {
        free(a);
        return status;
    }
    if (n > 0) memcpy(a + 1, text, n);
    for (size_t i = 0; i < sizeof replacements / sizeof *replacements; i++)
        n = replace_all(a + 1, n, replacements[i][0], replacements[i][1]);
    a[0] = a[n + 1] = ' ';
    n = cut_punctuation(b, a, n + 2);
    n = cut_points_after_no_digit(a, b, n);
    n = cut_points_before_no_digit(b, a, n);
    n = cut_dashes_after_digit(a, b, n);
    free(b);
    return cut_owned(words, a, n);
}

/* The character in lower case as far as it matters here: an ASCII letter or digit, or ' '. Two
   others have an ASCII letter as their lower case. */
static char lower_alphanumeric(uint32_t character) {
    if (character >= 'A' && character <= 'Z') return (char)(character + ('a' - 'A'));
    if ((character >= 'a' && character <= 'z') || (character >= '0' && character <= '9'))
        return (char)character;
    return character == 0x212A ? 'k' : ' '; /* the Kelvin sign */
}

enum { I_WITH_DOT = 0x130 }; /* its lower case is i and a combining dot, which separates */

sp_status sp_words_alphanumeric(sp_words *words, const char *text, size_t n_bytes) {
    char *lowered = NULL;
    size_t n = 0;
    SP_TRY(sp_alloc((void **)&lowered, n_bytes, "a text's words"));
    for (size_t i = 0; i < n_bytes;) {
        uint32_t character = ' ';
        const size_t len = sp_utf8_decode(&character, text + i, n_bytes - i);
        if (character == I_WITH_DOT) lowered[n++] = 'i'; /* it has two bytes: there is room */
        lowered[n++] = lower_alphanumeric(character);
        i += len > 0 ? len : 1;
    }
    return cut_owned(words, lowered, n);
}

/* A word and where its number goes. */
typedef struct numbered {
    sp_word word;
    uint32_t *id;
} numbered;

static int compare_words(const void *a, const void *b) {
    const sp_word *x = &((const numbered *)a)->word, *y = &((const numbered *)b)->word;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->n_bytes);
}

sp_status sp_words_number(uint32_t *a_ids, const sp_words *a, uint32_t *b_ids, const sp_words *b) {
    numbered *all = NULL;
    const size_t n = a->n + b->n;
    SP_TRY(sp_alloc_array((void **)&all, n, sizeof *all, "numbering words"));
    for (size_t i = 0; i < a->n; i++) all[i] = (numbered){a->words[i], &a_ids[i]};
    for (size_t i = 0; i < b->n; i++) all[a->n + i] = (numbered){b->words[i], &b_ids[i]};
    qsort(all, n, sizeof *all, compare_words);
    uint32_t id = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && compare_words(&all[i - 1], &all[i]) != 0) id++;
        *all[i].id = id;
    }
    free(all);
    return SP_OK;
}
