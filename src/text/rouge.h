/* ROUGE-L (Lin, 2004) as Google's rouge_score: the F measure, 0-1, over the longest common
   subsequence of words,

       P = lcs / words of the hypothesis,  R = lcs / words of the reference,  F = 2 P R / (P + R),

   and 0 where either text has no word. Words are runs of a-z and 0-9 after lower-casing; all else
   separates them. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* ROUGE-L F of texts of *_len bytes into *score. Memory grows with the sum of their words, time
   with the product. SP_FAILURE: no memory; *score is untouched. */
SP_NODISCARD sp_status sp_rouge_l(double *score, const char *hypothesis, size_t hypothesis_len,
                                  const char *reference, size_t reference_len);

/* The same with words of more than 3 letters reduced to Porter stems (use_stemmer=True). */
SP_NODISCARD sp_status sp_rouge_l_stem(double *score, const char *hypothesis, size_t hypothesis_len,
                                       const char *reference, size_t reference_len);
