/* Scores (run/report_results.h) of one data set as lines over ratios: one for each run's compressed
   contexts, and a level for each other method. */
#pragma once

#include "run/report_script.h"

typedef struct sp_score_lines {
    sp_ratio_line *lines; /* [n], owned, with what they point to */
    size_t n;
} sp_score_lines; /* all zero: none */

/* The data set of a score, "" without. Borrowed. */
const char *sp_score_data(const json_t *score);

/* Where the first score of a data set stands in the array. */
size_t sp_scores_first_of(const json_t *scores, const char *data);

/* Finds the lines of a measure; those of the matter's runs have the runs' colours. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_score_lines_find(sp_score_lines *lines, const sp_report_matter *matter,
                                           const json_t *scores, const char *data,
                                           const char *measure);
void sp_score_lines_free(sp_score_lines *lines);
