/* BLEU (Papineni et al., 2002): clipped n-gram precision, n = 1..4, times a brevity penalty.

   Two forms, both for one reference a segment:
   - corpus BLEU, as sacrebleu's defaults: words by the 13a tokenizer, case kept, counts summed over
     all segments, exp smoothing, 0-100. 0 without any match; an order n that no hypothesis is long
     enough for ends the product at 0.
   - sentence BLEU, as nltk's sentence_bleu without smoothing: words between white space, uniform
     weights over the four orders, 0-1 (0 if any order has no match, so under four words). The mean
     over segments is what the paper's table reports.

   Text is UTF-8; bytes that are not are kept and compared as bytes. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SP_BLEU_ORDER = 4 };

/* Counts of a corpus; plain sums, so those of several ranks may be added member by member.
   All zero: no segment yet. */
typedef struct sp_bleu {
    uint64_t matches[SP_BLEU_ORDER]; /* n-grams of the hypotheses that their references have too */
    uint64_t totals[SP_BLEU_ORDER];  /* n-grams of the hypotheses */
    uint64_t hypothesis_len, reference_len; /* words */
} sp_bleu;

/* Adds one segment, texts of *_len bytes. SP_FAILURE: no memory; the counts are unchanged. */
SP_NODISCARD sp_status sp_bleu_add(sp_bleu *bleu, const char *hypothesis, size_t hypothesis_len,
                                   const char *reference, size_t reference_len);

/* Corpus BLEU over all segments added, 0-100. */
double sp_bleu_score(const sp_bleu *bleu);

/* Sentence BLEU of one segment into *score, 0-1. SP_FAILURE: no memory; *score is untouched. */
SP_NODISCARD sp_status sp_bleu_sentence(double *score, const char *hypothesis,
                                        size_t hypothesis_len, const char *reference,
                                        size_t reference_len);
