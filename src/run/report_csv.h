/* The numbers of a report as CSV (RFC 4180): a row for each line of metrics, none thinned, and each
   score. */
#pragma once

#include "run/report_figures.h"

#include <stdio.h>

/* Prints all to `out`, whose errors the caller checks. Columns: run, kind ("train", "validation" or
   "evaluation"), step, tokens (trained on up to there; of role play
   those of the replies), skipped, the measures of metrics.jsonl by
   their keys, task, decoder, data, method, ratio, min_tokens, max_tokens, the
   figures of evaluations by their keys. Cells without a number are empty. SP_IO: a run's metrics cannot
   be read. */
SP_NODISCARD sp_status sp_report_csv(FILE *out, const sp_report_matter *matter);
