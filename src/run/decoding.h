/* Greedy decoding of many prompts with a KV cache, by continuous batching (Yu et al., "Orca", OSDI
   2022): so many sequences go on at once, in one pass over the layers for a token of each, and as
   soon as one ends the next prompt takes its place and is read in the same passes.

   A prompt may be the child of a prefix (chain/batch.h), whose rows are read and kept once for all
   its children. What a prompt goes on with is what it would alone, but for the rounding of products
   of other sizes; memory follows the sequences that go on, not how many there are. */
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

/* Goes on from each sequence of `prompts` that is no other's parent (the batch's ids may name special
   rows, whose slots are `slots` [.., d_model]), taking the likeliest token, the least id among
   equals, into *decoded; a parent goes on with nothing. It also ends where a model that has learned
   its positions has no more of them. SP_FAILURE: no memory; SP_BAD_DATA: a prompt is longer than
   these, or has no row; SP_STOPPED: a signal has come, where one is watched for (run/stop_signal.h). */
SP_NODISCARD sp_status sp_decode_greedily(sp_decoded *decoded, sp_transformer *transformer,
                                          const sp_rows *prompts, const float *slots,
                                          const sp_decoding_limits *limits);

void sp_decoded_free(sp_decoded *decoded);

/* ---- prompts that come and go ---- */

/* Sequences at once, where nothing asks for another number: products of more rows are hardly faster,
   and their keys and values take memory. */
enum { SP_DECODING_AT_ONCE = 32 };

typedef struct sp_decoding sp_decoding; /* opaque */

/* Makes a decoding without prompts, of at most `most_at_once` sequences beside their prefixes. */
SP_NODISCARD sp_status sp_decoding_create(sp_decoding **decoding, sp_transformer *transformer,
                                          size_t most_at_once);
void sp_decoding_destroy(sp_decoding *decoding); /* NULL is fine */

/* Adds prompts, as for sp_decode_greedily(); only what `limits` borrows is needed after the call. They
   wait, with their input rows in memory, until it is their turn, so add more when few wait. */
SP_NODISCARD sp_status sp_decoding_add(sp_decoding *decoding, const sp_rows *prompts,
                                       const float *slots, const sp_decoding_limits *limits);

size_t sp_decoding_n_waiting(const sp_decoding *decoding); /* prompts whose turn is not yet */
size_t sp_decoding_n_going(const sp_decoding *decoding);   /* those that wait, too */

/* Makes one pass over the layers: a token for each sequence that goes on, and a piece of the prompts
   that are still to be read. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_decoding_step(sp_decoding *decoding);

typedef struct sp_continuation {
    size_t number; /* of its sequence, parents counted, in the order in which they were added */
    int32_t *ids;  /* [n], owned */
    size_t n;
} sp_continuation;

/* Takes one that has ended, in no special order; false: there is none. */
bool sp_decoding_take(sp_decoding *decoding, sp_continuation *continuation);
