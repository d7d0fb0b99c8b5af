/* Batch layout: which rows a segment becomes (pcc.md §2).

       encoder   x_0 .. x_{n-1} <mem_0> .. <mem_{m-1}>          no BOS; memory taken at the last m
                 x_0 .. x_{n-1}        (pooled)                 memory j of rows [j ratio, (j+1) ratio)
       prefix    [BOS] <mem> slot_0 .. slot_{m-1} </mem>         the decoder's parent rows
       branches  <ae> x, targets x EOS          (reconstruction)
                 y, targets y EOS               (completion; y_0 is the target of the row of </mem>)

       question   [BOS] before ( <mem> slots </mem> ) x k  prompt answer, targets answer and its end

   Without boundaries there is no <mem> and no </mem>: y_0 is then the target of the last slot's row.
   Both branches are children of one prefix, unless the decoder would read it differently for each:
   then of two that are alike. Nothing is padded. */
#pragma once

#include "chain/batch.h"
#include "model/model_config.h"

/* The decoder's trained special rows, in the order of the exported `markers`. */
typedef enum sp_marker { SP_MARKER_MEM, SP_MARKER_END_MEM, SP_MARKER_AE, SP_N_MARKERS } sp_marker;

typedef struct sp_layout {
    size_t segment_tokens;  /* of a full segment, in encoder tokens */
    size_t ratio;           /* encoder tokens a slot */
    bool slots_are_fixed;   /* a short segment gets a full one's slots */
    bool is_of_chunks;      /* no memory tokens: a slot is made of its own chunk of `ratio` tokens,
                               the last of what is left; then slots are not fixed */
    bool omits_boundaries;  /* no <mem> and </mem> around a segment's slots */
    int32_t bos, eos;       /* the decoder's, or SP_NO_TOKEN: then without */
    size_t longrope_switch; /* the decoder's, sp_longrope_switch(): branches on either side of it
                               do not share a prefix */
} sp_layout;

typedef struct sp_sample {
    const int32_t *encoder_ids, *decoder_ids, *next_ids; /* borrowed during the call */
    size_t n_encoder_ids, n_decoder_ids;
    size_t n_next_ids; /* 0: the last segment of its document */
    uint64_t key;      /* names the sample for dropout */
    bool reconstructs, completes;
} sp_sample;

/* A context of several segments and what is asked about it: the sample of fine-tuning. */
typedef struct sp_question {
    const int32_t *encoder_ids;   /* of all segments, one behind the other; borrowed, as all here */
    const uint32_t *segment_lens; /* [n_segments] */
    size_t n_segments;
    const int32_t *before, *prompt, *answer; /* before: in front of the memory, after BOS */
    size_t n_before, n_prompt, n_answer;
    int32_t end;    /* the token that ends the answer, or SP_NO_TOKEN */
    bool omits_bos; /* even if the decoder has one */
    uint64_t key;   /* names the sample for dropout */
} sp_question;

/* m of a segment of n encoder tokens: ceil(n / ratio), or a full segment's. */
size_t sp_layout_n_slots(const sp_layout *layout, size_t n_encoder_ids);

/* Targets that a branch over n decoder ids has: its ids, and EOS if there is one. */
size_t sp_layout_n_targets(const sp_layout *layout, size_t n_ids);

/* Appends a segment to the encoder's rows. */
SP_NODISCARD sp_status sp_layout_add_encoder(const sp_layout *layout, sp_batch *batch,
                                             const int32_t *ids, size_t n_ids, uint64_t key);

/* Rows of a segment's memory beside its slots: <mem> and </mem>. */
static inline size_t sp_layout_n_boundaries(const sp_layout *layout) {
    return layout->omits_boundaries ? 0 : 2;
}

/* Appends memory to the decoder's last sequence: for each of n_segments <mem>, its slots, </mem>.
   Slots are numbered on from *slot, which moves on. */
SP_NODISCARD sp_status sp_layout_add_memory(const sp_layout *layout, sp_batch *batch,
                                            const size_t *n_slots, size_t n_segments, size_t *slot);

/* Appends a prefix to the decoder's rows: BOS, then memory as above. */
SP_NODISCARD sp_status sp_layout_add_prefix(const sp_layout *layout, sp_batch *batch,
                                            const size_t *n_slots, size_t n_segments, size_t *slot,
                                            uint64_t key, int32_t *prefix);

/* Appends the prompt of a reconstruction to the decoder's rows, as one sequence: the prefix of one
   segment of n_slots, then <ae>. */
SP_NODISCARD sp_status sp_layout_add_reconstruction_prompt(const sp_layout *layout, sp_batch *batch,
                                                           size_t n_slots, size_t *slot);

/* Appends a training sample to both sides: its segment, the prefix and the branches that it has. */
SP_NODISCARD sp_status sp_layout_add_sample(const sp_layout *layout, sp_batch *batch,
                                            const sp_sample *sample);

/* Appends a question to both sides: its segments, and one sequence of the decoder's with loss on the
   answer alone. Segments of one question drop different values. */
SP_NODISCARD sp_status sp_layout_add_question(const sp_layout *layout, sp_batch *batch,
                                              const sp_question *question);

/* How the batch spells special rows: memory token k of the encoder; a marker, and slot j of the
   memory taken, of the decoder. */
static inline int32_t sp_id_of_memory_token(size_t k) { return -1 - (int32_t)k; }
static inline int32_t sp_id_of_marker(sp_marker marker) { return -1 - (int32_t)marker; }
static inline int32_t sp_id_of_slot(size_t j) { return -1 - (int32_t)(SP_N_MARKERS + j); }
