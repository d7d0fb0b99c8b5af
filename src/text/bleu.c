#include "text/bleu.h"

#include "base/memory.h"
#include "text/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How a metric cuts a text into words. */
typedef sp_status cut_words(sp_words *words, const char *text, size_t n_bytes);

/* Two numbered texts, and room to sort their n-grams. */
typedef struct segment {
    uint32_t *hypothesis, *reference; /* words, in one allocation */
    size_t hypothesis_len, reference_len;
    const uint32_t **hypothesis_grams, **reference_grams; /* where each begins, in one allocation */
} segment;

static void free_segment(segment *s) {
    free(s->hypothesis_grams);
    free(s->hypothesis);
    *s = (segment){0};
}

static sp_status number_words(segment *s, const sp_words *hypothesis, const sp_words *reference) {
    const size_t n = hypothesis->n + reference->n;
    SP_TRY(sp_alloc_array((void **)&s->hypothesis, n, sizeof *s->hypothesis, "BLEU's words"));
    SP_TRY(sp_alloc_array((void **)&s->hypothesis_grams, n, sizeof *s->hypothesis_grams,
                          "BLEU's n-grams"));
    s->reference = s->hypothesis + hypothesis->n;
    s->reference_grams = s->hypothesis_grams + hypothesis->n;
    s->hypothesis_len = hypothesis->n;
    s->reference_len = reference->n;
    return sp_words_number(s->hypothesis, hypothesis, s->reference, reference);
}

static sp_status read_segment(segment *s, cut_words *cut, const char *hypothesis,
                              size_t hypothesis_len, const char *reference, size_t reference_len) {
    sp_words hypothesis_words = {0}, reference_words = {0};
    sp_status status = cut(&hypothesis_words, hypothesis, hypothesis_len);
    if (status == SP_OK) status = cut(&reference_words, reference, reference_len);
    if (status == SP_OK) status = number_words(s, &hypothesis_words, &reference_words);
    sp_words_free(&reference_words);
    sp_words_free(&hypothesis_words);
    return status;
}

/* Any total order does, so long as equal n-grams are equal. */
static int compare_grams(const void *a, const void *b, void *order) {
    return memcmp(*(const uint32_t *const *)a, *(const uint32_t *const *)b,
                  *(const size_t *)order * sizeof(uint32_t));
}

/* Sorts the n-grams of n_words words; returns how many there are. */
static size_t sort_grams(const uint32_t **grams, const uint32_t *words, size_t n_words,
                         size_t order) {
    const size_t n = n_words >= order ? n_words - order + 1 : 0;
    for (size_t i = 0; i < n; i++) grams[i] = words + i;
    qsort_r(grams, n, sizeof *grams, compare_grams, &order);
    return n;
}

/* Counts the n-grams of two sorted lists that both have, each as often as in the poorer one. */
static size_t count_common(const uint32_t **a, size_t n_a, const uint32_t **b, size_t n_b,
                           size_t order) {
    size_t common = 0;
    for (size_t i = 0, j = 0; i < n_a && j < n_b;) {
        const int compared = compare_grams(&a[i], &b[j], &order);
        common += compared == 0;
        i += compared <= 0;
        j += compared >= 0;
    }
    return common;
}

static void count(sp_bleu *bleu, segment *s) {
    for (size_t order = 1; order <= SP_BLEU_ORDER; order++) {
        const size_t n_hypothesis =
            sort_grams(s->hypothesis_grams, s->hypothesis, s->hypothesis_len, order);
        const size_t n_reference =
            sort_grams(s->reference_grams, s->reference, s->reference_len, order);
        bleu->totals[order - 1] += n_hypothesis;
        bleu->matches[order - 1] +=
            count_common(s->hypothesis_grams, n_hypothesis, s->reference_grams, n_reference, order);
    }
    bleu->hypothesis_len += s->hypothesis_len;
    bleu->reference_len += s->reference_len;
}

static sp_status add_segment(sp_bleu *bleu, cut_words *cut, const char *hypothesis,
                             size_t hypothesis_len, const char *reference, size_t reference_len) {
    segment s = {0};
    const sp_status status =
        read_segment(&s, cut, hypothesis, hypothesis_len, reference, reference_len);
    if (status == SP_OK) count(bleu, &s);
    free_segment(&s);
    return status;
}

sp_status sp_bleu_add(sp_bleu *bleu, const char *hypothesis, size_t hypothesis_len,
                      const char *reference, size_t reference_len) {
    return add_segment(bleu, sp_words_13a, hypothesis, hypothesis_len, reference, reference_len);
}

/* Below 1 where the hypotheses are shorter than their references. */
static double brevity_penalty(const sp_bleu *bleu) {
    if (bleu->hypothesis_len >= bleu->reference_len) return 1;
    if (bleu->hypothesis_len == 0) return 0;
    return exp(1 - (double)bleu->reference_len / (double)bleu->hypothesis_len);
}

double sp_bleu_score(const sp_bleu *bleu) {
    if (bleu->matches[0] == 0) return 0; /* then no longer n-gram matches either */
    double log_sum = 0, smoothing = 1;
    for (int i = 0; i < SP_BLEU_ORDER; i++) {
        const double total = (double)bleu->totals[i];
        if (total == 0) return 0;
        /* exp smoothing: the k-th order without a match counts 1 / 2^k of one */
        if (bleu->matches[i] == 0) smoothing *= 2;
        const double matches = bleu->matches[i] > 0 ? (double)bleu->matches[i] : 1 / smoothing;
        log_sum += log(100 * matches / total);
    }
    return brevity_penalty(bleu) * exp(log_sum / SP_BLEU_ORDER);
}

sp_status sp_bleu_sentence(double *score, const char *hypothesis, size_t hypothesis_len,
                           const char *reference, size_t reference_len) {
    sp_bleu counts = {0};
    SP_TRY(
        add_segment(&counts, sp_words_split, hypothesis, hypothesis_len, reference, reference_len));
    double log_sum = 0;
    for (int i = 0; i < SP_BLEU_ORDER; i++)
        log_sum +=
            log((double)counts.matches[i] / (double)(counts.totals[i] > 0 ? counts.totals[i] : 1));
    *score = brevity_penalty(&counts) * exp(log_sum / SP_BLEU_ORDER); /* exp(-inf) is 0 */
    return SP_OK;
}
