/* Scoring: the log-probability of each token of a text under a model. */
#pragma once

#include "base/json.h"
#include "tensor/linear.h"

typedef enum sp_bos_use { SP_BOS_AUTO, SP_BOS_ALWAYS, SP_BOS_NEVER } sp_bos_use;

/* Scores n_bytes of text under the model at `path` (folder or .gguf). *result is an object, owned:
   ids [n], logprobs [n - 1] (natural logarithm, of each id after the first), tokens (n), perplexity
   (exp of minus their mean; null for fewer than two ids). BOS goes first where the tokenizer puts
   it by itself (auto), or always, or never. */
SP_NODISCARD sp_status sp_score(json_t **result, const char *path, const char *text, size_t n_bytes,
                                sp_bos_use bos, sp_precision precision);
