/* Slots of a text that is in no slot file: cut, encoded and converted on the spot, as `compress` cuts
   it, in groups of consecutive segments. They are f32, where a slot file rounds. */
#pragma once

#include "run/trained.h"
#include "text/tokenizer.h"

typedef struct sp_context_slots {
    const sp_trained *trained; /* borrowed; with both sides */
    json_t *tokenizer_json;
    sp_tokenizer *tokenizer; /* the encoder's */
    sp_encoding encoding;
    sp_batch batch;
    sp_workspace workspace;
    float *memory;
    size_t memory_capacity; /* rows */
    /* Of the present text. */
    float *slots;    /* [sum of n_slots, d_dec], owned */
    size_t *n_slots; /* [n_segments], owned */
    size_t n_segments, slots_capacity, segment_capacity;
} sp_context_slots; /* all zero: empty */

SP_NODISCARD sp_status sp_context_slots_init(sp_context_slots *context, const sp_trained *trained);
void sp_context_slots_release(sp_context_slots *context);

/* Makes a text the present one. SP_BAD_DATA: a token beyond the encoder's vocabulary. */
SP_NODISCARD sp_status sp_context_slots_read(sp_context_slots *context, const char *text,
                                             size_t n_bytes);
