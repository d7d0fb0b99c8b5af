#include "text/rouge.h"

#include "base/memory.h"
#include "text/porter.h"
#include "text/words.h"

#include <stdbool.h>
#include <stdlib.h>

/* Words of this length and below are not stemmed. */
enum { UNSTEMMED = 3 };

static void stem_words(sp_words *words) {
    for (size_t i = 0; i < words->n; i++)
        if (words->words[i].n_bytes > UNSTEMMED)
            words->words[i].n_bytes =
                sp_porter_stem(words->words[i].bytes, words->words[i].n_bytes);
}

/* Length of the longest common subsequence of a [n_a] and b [n_b]. row [n_b + 1], zeroed: for each
   prefix of b, the length with what was seen of a. */
static size_t longest_common(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b,
                             uint32_t *row) {
    for (size_t i = 0; i < n_a; i++) {
        uint32_t diagonal = 0; /* row[j] before this word of a */
        for (size_t j = 0; j < n_b; j++) {
            const uint32_t above = row[j + 1];
            row[j + 1] = a[i] == b[j] ? diagonal + 1 : above > row[j] ? above : row[j];
            diagonal = above;
        }
    }
    return row[n_b];
}

static sp_status f_measure(double *score, const sp_words *hypothesis, const sp_words *reference) {
    const size_t n_h = hypothesis->n, n_r = reference->n;
    if (n_h == 0 || n_r == 0) {
        *score = 0;
        return SP_OK;
    }
    uint32_t *room = NULL; /* both texts' numbers and the row */
    SP_TRY(sp_alloc_array((void **)&room, n_h + 2 * n_r + 1, sizeof *room, "ROUGE-L's words"));
    uint32_t *h = room, *r = room + n_h, *row = r + n_r;
    const sp_status status = sp_words_number(h, hypothesis, r, reference);
    if (status == SP_OK) {
        const double common = (double)longest_common(h, n_h, r, n_r, row);
        const double precision = common / (double)n_h, recall = common / (double)n_r;
        *score = common > 0 ? 2 * precision * recall / (precision + recall) : 0;
    }
    free(room);
    return status;
}

static sp_status score_texts(double *score, const char *hypothesis, size_t hypothesis_len,
                             const char *reference, size_t reference_len, bool stems) {
    sp_words hypothesis_words = {0}, reference_words = {0};
    sp_status status = sp_words_alphanumeric(&hypothesis_words, hypothesis, hypothesis_len);
    if (status == SP_OK) status = sp_words_alphanumeric(&reference_words, reference, reference_len);
    if (status == SP_OK && stems) {
        stem_words(&hypothesis_words);
        stem_words(&reference_words);
    }
    if (status == SP_OK) status = f_measure(score, &hypothesis_words, &reference_words);
    sp_words_free(&reference_words);
    sp_words_free(&hypothesis_words);
    return status;
}

sp_status sp_rouge_l(double *score, const char *hypothesis, size_t hypothesis_len,
                     const char *reference, size_t reference_len) {
    return score_texts(score, hypothesis, hypothesis_len, reference, reference_len, false);
}

sp_status sp_rouge_l_stem(double *score, const char *hypothesis, size_t hypothesis_len,
                          const char *reference, size_t reference_len) {
    return score_texts(score, hypothesis, hypothesis_len, reference, reference_len, true);
}
