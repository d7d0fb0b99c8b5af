#include "text/answer.h"

#include "base/memory.h"
#include "text/unicode.h"
#include "text/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Lower case may take more bytes: U+0130 becomes i and a combining dot, U+023A goes from 2 to 3. */
static size_t most_lower_bytes(size_t n_bytes) { return n_bytes + n_bytes / 2 + SP_UTF8_MAX; }

/* Whether the capital sigma text[begin, end) ends a word, and so is a final sigma in lower case: a
   cased letter is before it and none after it, characters that case ignores apart. */
static bool is_final_sigma(const char *text, size_t n_bytes, size_t begin, size_t end) {
    uint32_t character = 0;
    bool is_after_letter = false, is_before_letter = false;
    for (size_t i = begin; i > 0;) {
        i = sp_utf8_last_character(text, i);
        const size_t len = sp_utf8_decode(&character, text + i, n_bytes - i);
        if (len > 0 && sp_unicode_is_case_ignorable(character)) continue;
        is_after_letter = len > 0 && sp_unicode_is_cased(character);
        break;
    }
    for (size_t i = end; i < n_bytes;) {
        const size_t len = sp_utf8_decode(&character, text + i, n_bytes - i);
        if (len > 0 && sp_unicode_is_case_ignorable(character)) {
            i += len;
            continue;
        }
        is_before_letter = len > 0 && sp_unicode_is_cased(character);
        break;
    }
    return is_after_letter && !is_before_letter;
}

/* Python's str.lower() of one character, whose bytes are text[begin, end). */
static size_t lower(char *out, uint32_t character, const char *text, size_t n_bytes, size_t begin,
                    size_t end) {
    enum { CAPITAL_SIGMA = 0x3A3, SIGMA = 0x3C3, FINAL_SIGMA = 0x3C2 };
    enum { I_WITH_DOT = 0x130, DOT_ABOVE = 0x307 };
    if (character == I_WITH_DOT) {
        *out = 'i';
        return 1 + sp_utf8_encode(out + 1, DOT_ABOVE);
    }
    if (character != CAPITAL_SIGMA) return sp_utf8_encode(out, sp_unicode_lower(character));
    return sp_utf8_encode(out, is_final_sigma(text, n_bytes, begin, end) ? FINAL_SIGMA : SIGMA);
}

/* Python's string.punctuation: all of ASCII that is seen and no letter or digit. */
static bool is_punctuation(uint32_t c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

/* Writes text in lower case and without punctuation; returns the length. */
static size_t lower_without_punctuation(char *out, const char *text, size_t n_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t character = 0;
        const size_t len = sp_utf8_decode(&character, text + i, n_bytes - i);
        if (len == 0)
            out[n++] = text[i++];
        else if (is_punctuation(character))
            i++;
        else {
            n += lower(out + n, character, text, n_bytes, i, i + len);
            i += len;
        }
    }
    return n;
}

static bool is_article(const char *word, size_t len) {
    static const char *const articles[] = {"a", "an", "the"};
    for (size_t i = 0; i < sizeof articles / sizeof *articles; i++)
        if (len == strlen(articles[i]) && memcmp(word, articles[i], len) == 0) return true;
    return false;
}

/* Where the run of word characters at text[i] ends; i if there is none. */
static size_t word_end(const char *text, size_t n_bytes, size_t i) {
    uint32_t character = 0;
    size_t len;
    while ((len = sp_utf8_decode(&character, text + i, n_bytes - i)) > 0 &&
           sp_unicode_is_alphanumeric(character))
        i += len;
    return i;
}

/* Blanks out the articles, in place: their words are bounded as by \b. */
static void blank_articles(char *text, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes;) {
        const size_t end = word_end(text, n_bytes, i);
        if (is_article(text + i, end - i)) memset(text + i, ' ', end - i);
        uint32_t character;
        const size_t len =
            end < n_bytes ? sp_utf8_decode(&character, text + end, n_bytes - end) : 0;
        i = end + (len > 0 ? len : 1);
    }
}

static sp_status normalize(sp_words *words, sp_answer_text text) {
    char *lowered = NULL;
    SP_TRY(sp_alloc((void **)&lowered, most_lower_bytes(text.n_bytes), "an answer"));
    const size_t n = lower_without_punctuation(lowered, text.text, text.n_bytes);
    blank_articles(lowered, n);
    const sp_status status = sp_words_split(words, lowered, n);
    free(lowered);
    return status;
}

static bool are_equal(const sp_words *a, const sp_words *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->words[i].n_bytes != b->words[i].n_bytes ||
            memcmp(a->words[i].bytes, b->words[i].bytes, a->words[i].n_bytes) != 0)
            return false;
    return true;
}

static int compare_ids(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static sp_status count_common(size_t *common, const sp_words *a, const sp_words *b) {
    uint32_t *ids = NULL; /* both lists' numbers */
    SP_TRY(sp_alloc_array((void **)&ids, a->n + b->n, sizeof *ids, "an answer's words"));
    uint32_t *x = ids, *y = ids + a->n;
    const sp_status status = sp_words_number(x, a, y, b);
    if (status == SP_OK) {
        qsort(x, a->n, sizeof *x, compare_ids);
        qsort(y, b->n, sizeof *y, compare_ids);
        *common = 0;
        for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
            *common += x[i] == y[j];
            const bool steps_i = x[i] <= y[j], steps_j = x[i] >= y[j];
            i += steps_i;
            j += steps_j;
        }
    }
    free(ids);
    return status;
}

static sp_status score_words(sp_answer_score *score, const sp_words *prediction,
                             const sp_words *answer, sp_answer_rule rule) {
    const bool is_exact = are_equal(prediction, answer);
    *score = (sp_answer_score){.exact = is_exact};
    if (prediction->n == 0 || answer->n == 0) {
        score->f1 = is_exact && rule == SP_ANSWER_SQUAD_2;
        return SP_OK;
    }
    size_t common = 0;
    SP_TRY(count_common(&common, prediction, answer));
    const double precision = (double)common / (double)prediction->n;
    const double recall = (double)common / (double)answer->n;
    score->f1 = common > 0 ? 2 * precision * recall / (precision + recall) : 0;
    return SP_OK;
}

/* Raises *best to the score of one answer; *is_counted: it is not passed over. */
static sp_status raise_score(sp_answer_score *best, bool *is_counted, const sp_words *prediction,
                             sp_answer_text answer, sp_answer_rule rule) {
    sp_words words = {0};
    sp_answer_score score = {0};
    SP_TRY(normalize(&words, answer));
    *is_counted = words.n > 0 || rule == SP_ANSWER_SQUAD_1;
    const sp_status status = *is_counted ? score_words(&score, prediction, &words, rule) : SP_OK;
    sp_words_free(&words);
    if (status != SP_OK) return status;
    if (score.f1 > best->f1) best->f1 = score.f1;
    if (score.exact > best->exact) best->exact = score.exact;
    return SP_OK;
}

sp_status sp_answer_score_best(sp_answer_score *score, sp_answer_text prediction,
                               const sp_answer_text *answers, size_t n, sp_answer_rule rule) {
    sp_words words = {0};
    sp_answer_score best = {0};
    size_t n_counted = 0;
    SP_TRY(normalize(&words, prediction));
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < n; i++) {
        bool is_counted = false;
        status = raise_score(&best, &is_counted, &words, answers[i], rule);
        n_counted += is_counted;
    }
    if (n_counted == 0 && rule == SP_ANSWER_SQUAD_2 && words.n == 0)
        best = (sp_answer_score){.f1 = 1, .exact = 1};
    sp_words_free(&words);
    if (status == SP_OK) *score = best;
    return status;
}
