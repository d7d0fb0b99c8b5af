/* Figures of reconstructed segments: what is counted of each, and what they come to together.

   Every figure is a sum, so that those of segments add up; added in the segments' order, which is the
   same for any number of ranks, they come to the same bits. */
#pragma once

#include "base/json.h"
#include "text/bleu.h"

typedef enum sp_figure {
    SP_FIGURE_SEGMENTS, /* 1 */
    SP_FIGURE_LENGTH,   /* encoder tokens */
    SP_FIGURE_BLEU_SENTENCE,
    SP_FIGURE_ROUGE_L,
    SP_FIGURE_ROUGE_L_STEM,
    SP_FIGURE_EXACT,
    SP_FIGURE_NLL,     /* with the text given, nats */
    SP_FIGURE_TARGETS, /* likewise, tokens */
    SP_FIGURE_CORRECT, /* of these the likeliest; of a group, noted at its first segment */
    SP_FIGURE_MATCHES, /* of BLEU, by order */
    SP_FIGURE_TOTALS = SP_FIGURE_MATCHES + SP_BLEU_ORDER,
    SP_FIGURE_HYPOTHESIS_LEN = SP_FIGURE_TOTALS + SP_BLEU_ORDER,
    SP_FIGURE_REFERENCE_LEN,
    SP_N_FIGURES
} sp_figure;

/* Compares a reconstruction with its text, of made_len and wanted_len bytes, and fills figures
   [SP_N_FIGURES], those apart that SP_FIGURE_LENGTH, NLL, TARGETS and CORRECT are. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_figures_compare(double *figures, const char *made, size_t made_len,
                                          const char *wanted, size_t wanted_len);

/* The sum of one figure over segments [n, SP_N_FIGURES]. */
double sp_figures_sum(const double *figures, size_t n, sp_figure figure);

/* Adds the figures of segments [n, SP_N_FIGURES], of more than `from` and at most `to` encoder tokens,
   to an object: segments, bleu, bleu_sentence (0-100), rouge_l, rouge_l_stem, exact_match
   (0-1), perplexity. *n_segments is how many there are; for none nothing is added.
   SP_NUMERIC: one is not finite. */
SP_NODISCARD sp_status sp_figures_report(json_t *object, size_t *n_segments, const double *figures,
                                         size_t n, size_t from, size_t to);
