/* Greedy decoding of several prompts at once, with a KV cache. */
#pragma once

#include "chain/batch.h"
#include "model/transformer.h"

typedef struct sp_decoding_limits {
    size_t max_new_tokens;
    const int32_t *stop_ids; /* [n_stop_ids], borrowed: a sequence ends before one of these, */
    size_t n_stop_ids;
    int32_t eos; /* and before this one, which training ends a text with; SP_NO_TOKEN: none */
} sp_decoding_limits;

/* What each prompt goes on with: ids [n_seqs] arrays of lens[i] tokens, stop ids left out. */
typedef struct sp_decoded {
    int32_t **ids; /* owned, as are its arrays */
    size_t *lens;
    size_t n_seqs;
} sp_decoded;

/* Goes on from each sequence of `prompts` (without parents; the batch's ids may name special rows,
   whose slots are `slots` [.., d_model]), taking the likeliest token, the least id among equals,
   into *decoded. It also ends where a model that has learned its positions has no more of them.
   SP_FAILURE: no memory; SP_BAD_DATA: a prompt is longer than these. */
SP_NODISCARD sp_status sp_decode_greedily(sp_decoded *decoded, sp_transformer *transformer,
                                          const sp_rows *prompts, const float *slots,
                                          const sp_decoding_limits *limits);

void sp_decoded_free(sp_decoded *decoded);
