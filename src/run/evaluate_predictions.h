/* Scores of predictions that were made elsewhere, by the code that scores our own. Local: one rank
   does it.

   Predictions are JSON lines, {"id": ..., "prediction": text}, an id being text or a whole number, or
   one object {id: text}, as SQuAD's script reads them (HotpotQA's is {"answer": {id: text}}). A
   question without an id of its own is known by its text, else by its number in the file, from 0. */
#pragma once

#include "base/json.h"

typedef struct sp_predictions_job {
    const char *data;        /* the questions; of a reconstruction NULL */
    const char *predictions; /* file */
    size_t limit;            /* the first so many questions, or pairs; 0: all */
} sp_predictions_job;

/* Makes an object, owned: task ("qa"), data (form of the file), f1 and em (0-100), count, missing,
   unknown. As the scripts do: a question without a prediction scores 0 and counts, of SQuAD 2 it does
   not count; predictions without a question do not matter. SP_BAD_DATA: a file that is not of its form,
   an id that comes twice, no question that counts. */
SP_NODISCARD sp_status sp_score_answers(json_t **result, const sp_predictions_job *job);

/* Makes an object, owned: task ("reconstruction"), bleu (corpus, 0-100), rouge_l (mean, without stems),
   exact_match (0-1), count, of JSON lines {"prediction": text, "reference": text}. */
SP_NODISCARD sp_status sp_score_reconstructions(json_t **result, const sp_predictions_job *job);
