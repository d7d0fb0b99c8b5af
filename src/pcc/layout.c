#include "pcc/layout.h"

size_t sp_layout_n_slots(const sp_layout *layout, size_t n_encoder_ids) {
    const size_t n = layout->slots_are_fixed ? layout->segment_tokens : n_encoder_ids;
    return (n + layout->ratio - 1) / layout->ratio;
}

size_t sp_layout_n_targets(const sp_layout *layout, size_t n_ids) {
    return n_ids + (layout->eos != SP_NO_TOKEN ? 1 : 0);
}

/* The text's rows, each chunk taken once its last one is there. */
static sp_status add_chunks(const sp_layout *layout, sp_batch *batch, const int32_t *ids,
                            size_t n_ids) {
    size_t n_open = 0;
    for (size_t i = 0; i < n_ids; i++) {
        SP_TRY(sp_batch_add_row(batch, SP_ENCODER, ids[i]));
        if (++n_open < layout->ratio && i + 1 < n_ids) continue;
        SP_TRY(sp_batch_take_last_rows(batch, n_open));
        n_open = 0;
    }
    return SP_OK;
}

sp_status sp_layout_add_encoder(const sp_layout *layout, sp_batch *batch, const int32_t *ids,
                                size_t n_ids, uint64_t key) {
    int32_t seq = 0;
    SP_TRY(sp_batch_add_seq(batch, SP_ENCODER, SP_NO_PARENT, key, &seq));
    if (layout->is_of_chunks) return add_chunks(layout, batch, ids, n_ids);
    for (size_t i = 0; i < n_ids; i++) SP_TRY(sp_batch_add_row(batch, SP_ENCODER, ids[i]));
    const size_t n_slots = sp_layout_n_slots(layout, n_ids);
    for (size_t k = 0; k < n_slots; k++) {
        SP_TRY(sp_batch_add_row(batch, SP_ENCODER, sp_id_of_memory_token(k)));
        SP_TRY(sp_batch_take_last_rows(batch, 1));
    }
    return SP_OK;
}

sp_status sp_layout_add_memory(const sp_layout *layout, sp_batch *batch, const size_t *n_slots,
                               size_t n_segments, size_t *slot) {
    const bool has_boundaries = !layout->omits_boundaries;
    for (size_t i = 0; i < n_segments; i++) {
        if (has_boundaries)
            SP_TRY(sp_batch_add_row(batch, SP_DECODER, sp_id_of_marker(SP_MARKER_MEM)));
        for (size_t j = 0; j < n_slots[i]; j++)
            SP_TRY(sp_batch_add_row(batch, SP_DECODER, sp_id_of_slot((*slot)++)));
        if (has_boundaries)
            SP_TRY(sp_batch_add_row(batch, SP_DECODER, sp_id_of_marker(SP_MARKER_END_MEM)));
    }
    return SP_OK;
}

sp_status sp_layout_add_prefix(const sp_layout *layout, sp_batch *batch, const size_t *n_slots,
                               size_t n_segments, size_t *slot, uint64_t key, int32_t *prefix) {
    SP_TRY(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, key, prefix));
    if (layout->bos != SP_NO_TOKEN) SP_TRY(sp_batch_add_row(batch, SP_DECODER, layout->bos));
    return sp_layout_add_memory(layout, batch, n_slots, n_segments, slot);
}

sp_status sp_layout_add_reconstruction_prompt(const sp_layout *layout, sp_batch *batch,
                                              size_t n_slots, size_t *slot) {
    int32_t prefix = 0;
    SP_TRY(sp_layout_add_prefix(layout, batch, &n_slots, 1, slot, 0, &prefix));
    return sp_batch_add_row(batch, SP_DECODER, sp_id_of_marker(SP_MARKER_AE));
}

static sp_status add_rows(sp_batch *batch, const int32_t *ids, size_t n_ids) {
    for (size_t i = 0; i < n_ids; i++) SP_TRY(sp_batch_add_row(batch, SP_DECODER, ids[i]));
    return SP_OK;
}

/* Appends rows that read ids and are each to be followed by the next one, the last by `end`. `before`
   is the sequence whose last row is to be followed by ids[0]. */
static sp_status add_ids(sp_batch *batch, int32_t before, int32_t seq, const int32_t *ids,
                         size_t n_ids, int32_t end, sp_loss loss) {
    for (size_t i = 0; i < n_ids; i++) {
        sp_batch_set_target(batch, SP_DECODER, i == 0 ? before : seq, ids[i], loss);
        SP_TRY(sp_batch_add_row(batch, SP_DECODER, ids[i]));
    }
    if (end != SP_NO_TOKEN) sp_batch_set_target(batch, SP_DECODER, seq, end, loss);
    return SP_OK;
}

/* Whether prefix and branch are more rows than the decoder's first frequencies serve. */
static bool is_long(const sp_layout *layout, size_t n_slots, size_t branch_len) {
    const size_t prefix_len =
        n_slots + sp_layout_n_boundaries(layout) + (layout->bos != SP_NO_TOKEN ? 1 : 0);
    return layout->longrope_switch > 0 && prefix_len + branch_len > layout->longrope_switch;
}

sp_status sp_layout_add_sample(const sp_layout *layout, sp_batch *batch, const sp_sample *sample) {
    const size_t n_slots = sp_layout_n_slots(layout, sample->n_encoder_ids);
    const bool completes = sample->completes && sample->n_next_ids > 0;
    const bool shares = is_long(layout, n_slots, 1 + sample->n_decoder_ids) ==
                        is_long(layout, n_slots, sample->n_next_ids);
    size_t slot = batch->n_taken, same_slot = slot;
    SP_TRY(sp_layout_add_encoder(layout, batch, sample->encoder_ids, sample->n_encoder_ids,
                                 sample->key));
    int32_t prefix = 0, branch = 0;
    SP_TRY(sp_layout_add_prefix(layout, batch, &n_slots, 1, &slot, sample->key, &prefix));
    if (sample->reconstructs) {
        SP_TRY(sp_batch_add_seq(batch, SP_DECODER, prefix, sample->key, &branch));
        SP_TRY(sp_batch_add_row(batch, SP_DECODER, sp_id_of_marker(SP_MARKER_AE)));
        SP_TRY(add_ids(batch, branch, branch, sample->decoder_ids, sample->n_decoder_ids,
                       layout->eos, SP_RECONSTRUCTION));
    }
    if (sample->reconstructs && completes && !shares)
        SP_TRY(sp_layout_add_prefix(layout, batch, &n_slots, 1, &same_slot, sample->key, &prefix));
    if (completes) {
        SP_TRY(sp_batch_add_seq(batch, SP_DECODER, prefix, sample->key, &branch));
        SP_TRY(add_ids(batch, prefix, branch, sample->next_ids, sample->n_next_ids, layout->eos,
                       SP_COMPLETION));
    }
    return SP_OK;
}

/* The key of a question's k-th segment: odd multiples of the golden ratio's bits lie far apart. */
static uint64_t segment_key(uint64_t key, size_t k) { return key + k * 0x9E3779B97F4A7C15U; }

sp_status sp_layout_add_question(const sp_layout *layout, sp_batch *batch,
                                 const sp_question *question) {
    size_t slot = batch->n_taken;
    const int32_t *ids = question->encoder_ids;
    for (size_t k = 0; k < question->n_segments; k++) {
        SP_TRY(sp_layout_add_encoder(layout, batch, ids, question->segment_lens[k],
                                     segment_key(question->key, k)));
        ids += question->segment_lens[k];
    }
    int32_t seq = 0;
    SP_TRY(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, question->key, &seq));
    if (layout->bos != SP_NO_TOKEN && !question->omits_bos)
        SP_TRY(sp_batch_add_row(batch, SP_DECODER, layout->bos));
    SP_TRY(add_rows(batch, question->before, question->n_before));
    for (size_t k = 0; k < question->n_segments; k++) {
        const size_t n_slots = sp_layout_n_slots(layout, question->segment_lens[k]);
        SP_TRY(sp_layout_add_memory(layout, batch, &n_slots, 1, &slot));
    }
    SP_TRY(add_rows(batch, question->prompt, question->n_prompt));
    return add_ids(batch, seq, seq, question->answer, question->n_answer, question->end, SP_ANSWER);
}
