#include "run/evaluate_figures.h"

#include "text/rouge.h"

#include <math.h>
#include <string.h>

sp_status sp_figures_compare(double *figures, const char *made, size_t made_len, const char *wanted,
                             size_t wanted_len) {
    sp_bleu bleu = {0};
    SP_TRY(sp_bleu_add(&bleu, made, made_len, wanted, wanted_len));
    SP_TRY(sp_bleu_sentence(&figures[SP_FIGURE_BLEU_SENTENCE], made, made_len, wanted, wanted_len));
    SP_TRY(sp_rouge_l(&figures[SP_FIGURE_ROUGE_L], made, made_len, wanted, wanted_len));
    SP_TRY(sp_rouge_l_stem(&figures[SP_FIGURE_ROUGE_L_STEM], made, made_len, wanted, wanted_len));
    for (size_t i = 0; i < SP_BLEU_ORDER; i++) {
        figures[SP_FIGURE_MATCHES + i] = (double)bleu.matches[i];
        figures[SP_FIGURE_TOTALS + i] = (double)bleu.totals[i];
    }
    figures[SP_FIGURE_HYPOTHESIS_LEN] = (double)bleu.hypothesis_len;
    figures[SP_FIGURE_REFERENCE_LEN] = (double)bleu.reference_len;
    figures[SP_FIGURE_EXACT] = made_len == wanted_len && memcmp(made, wanted, made_len) == 0;
    figures[SP_FIGURE_SEGMENTS] = 1;
    return SP_OK;
}

/* Counts are whole numbers below 2^53. */
static sp_bleu bleu_of(const double *sums) {
    sp_bleu bleu = {.hypothesis_len = (uint64_t)sums[SP_FIGURE_HYPOTHESIS_LEN],
                    .reference_len = (uint64_t)sums[SP_FIGURE_REFERENCE_LEN]};
    for (size_t i = 0; i < SP_BLEU_ORDER; i++) {
        bleu.matches[i] = (uint64_t)sums[SP_FIGURE_MATCHES + i];
        bleu.totals[i] = (uint64_t)sums[SP_FIGURE_TOTALS + i];
    }
    return bleu;
}

static void add_up(double *sums, const double *figures, size_t n, size_t from, size_t to) {
    for (size_t i = 0; i < n; i++, figures += SP_N_FIGURES) {
        const double length = figures[SP_FIGURE_LENGTH];
        if (length <= (double)from || length > (double)to) continue;
        for (size_t k = 0; k < SP_N_FIGURES; k++) sums[k] += figures[k];
    }
}

double sp_figures_sum(const double *figures, size_t n, sp_figure figure) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += figures[i * SP_N_FIGURES + figure];
    return sum;
}

sp_status sp_figures_report(json_t *object, size_t *n_segments, const double *figures, size_t n,
                            size_t from, size_t to) {
    double sums[SP_N_FIGURES] = {0};
    add_up(sums, figures, n, from, to);
    *n_segments = (size_t)sums[SP_FIGURE_SEGMENTS];
    if (*n_segments == 0) return SP_OK;
    const double segments = sums[SP_FIGURE_SEGMENTS], targets = sums[SP_FIGURE_TARGETS];
    const sp_bleu bleu = bleu_of(sums);
    const struct {
        const char *name;
        double value;
    } members[] = {
        {"bleu", sp_bleu_score(&bleu)},
        {"bleu_sentence", 100 * sums[SP_FIGURE_BLEU_SENTENCE] / segments},
        {"rouge_l", sums[SP_FIGURE_ROUGE_L] / segments},
        {"rouge_l_stem", sums[SP_FIGURE_ROUGE_L_STEM] / segments},
        {"exact_match", sums[SP_FIGURE_EXACT] / segments},
        {"perplexity", exp(sums[SP_FIGURE_NLL] / targets)},
    };
    json_object_set_new(object, "segments", json_integer((json_int_t)*n_segments));
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_object_set_new(object, members[i].name, json_real(members[i].value)) != 0)
            return sp_fail(SP_NUMERIC, "the evaluation's %s is not finite", members[i].name);
    return SP_OK;
}
