/* Scores of evaluations as text or JSON: a line, or an object, for what one method reached. */
#pragma once

#include "run/report_results.h"

#include <stdio.h>

/* Prints to `out`, whose errors the caller checks, a table for each task that has scores: decoder and
   data where they are known, context ("compressed 4x"), then the task's figures that any score has.
   `run` is a column only where the decoder does not tell the runs apart. */
void sp_report_tables(FILE *out, const sp_report_results *results);

/* {scores: [..], by_length: [..]} as in sp_report_results, one after the other by task; owned. NULL: no
   memory. */
json_t *sp_report_scores_json(const sp_report_results *results);
