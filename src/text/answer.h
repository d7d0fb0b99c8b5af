/* F1 and exact match of a short answer, as SQuAD's own scripts score it (evaluate-v1.1.py and
   evaluate-v2.0.py).

   Both texts are normalised first, in this order: lower case, ASCII punctuation dropped, the words
   a, an and the dropped, split at white space; lower case, words and white space are Python's, of
   any script. Exact: the words are the same. With c words in common, each as often as in the poorer
   text,

       P = c / words of the prediction,  R = c / words of the answer,  F1 = 2 P R / (P + R).

   Text is UTF-8; bytes that are not are kept and compared as bytes. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* The scripts differ where no word is left. SQUAD_1: F1 is 0 whenever nothing is in common, even if
   both are empty. SQUAD_2: F1 is 1 if both are empty; accepted answers that normalise to nothing are
   passed over; and where none is left, the question has no answer and "" is accepted. */
typedef enum sp_answer_rule { SP_ANSWER_SQUAD_1, SP_ANSWER_SQUAD_2 } sp_answer_rule;

typedef struct sp_answer_text {
    const char *text; /* [n_bytes], borrowed */
    size_t n_bytes;
} sp_answer_text;

typedef struct sp_answer_score {
    double f1, exact; /* 0-1; exact is 0 or 1 */
} sp_answer_score;

/* The best F1 and the best exact match of a prediction over n accepted answers into *score; 0 and 0
   for none (SQUAD_1). SP_FAILURE: no memory; *score is untouched. */
SP_NODISCARD sp_status sp_answer_score_best(sp_answer_score *score, sp_answer_text prediction,
                                            const sp_answer_text *answers, size_t n,
                                            sp_answer_rule rule);
