/* Merges from scores: SentencePiece's BPE keeps no list of merges, but a score for each piece, and
   merges the pair of neighbours whose piece has the best one. The list that does the same, as Hugging
   Face's converter makes it: every way to cut a piece into two pieces, by falling score of the whole,
   then by falling length of the left and of the right half. */
#pragma once

#include "base/json.h"
#include "base/status.h"

/* Makes the list, owned, of pairs of spellings. `tokens` are the pieces by id, strings all;
   `vocabulary` the ids by piece; `scores` one number a piece. `path` names the file in messages.
   SP_BAD_DATA: the scores do not fit. Pieces of more than 256 bytes take no part. */
SP_NODISCARD sp_status sp_make_score_merges(json_t **merges, const json_t *tokens,
                                            const json_t *vocabulary, const json_t *scores,
                                            const char *path);
