#include "run/context_slots.h"

#include "base/memory.h"
#include "text/segmenter.h"

#include <stdlib.h>
#include <string.h>

enum { SEGMENTS_AT_ONCE = 8 }; /* as compress */

sp_status sp_context_slots_init(sp_context_slots *c, const sp_trained *trained) {
    const char *encoder = trained->config.encoder.model;
    *c = (sp_context_slots){.trained = trained};
    SP_TRY(sp_tokenizer_json_load(&c->tokenizer_json, encoder));
    return sp_tokenizer_create(&c->tokenizer, c->tokenizer_json, encoder);
}

void sp_context_slots_release(sp_context_slots *c) {
    free(c->slots);
    free(c->n_slots);
    free(c->memory);
    sp_workspace_release(&c->workspace);
    sp_batch_free(&c->batch);
    sp_encoding_free(&c->encoding);
    sp_tokenizer_destroy(c->tokenizer);
    json_decref(c->tokenizer_json);
    *c = (sp_context_slots){0};
}

/* Makes room for n items where n_kept are to stay. */
static sp_status grow(void *array, size_t n, size_t n_kept, size_t *capacity, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    void **place = array, *grown = NULL;
    SP_TRY(sp_alloc_array(&grown, 2 * n, item_bytes, "a context"));
    if (n_kept > 0) memcpy(grown, *place, n_kept * item_bytes);
    free(*place);
    *place = grown;
    *capacity = 2 * n;
    return SP_OK;
}

static sp_status check_ids(const sp_context_slots *c, size_t begin, size_t end) {
    const size_t vocab_size = c->trained->models.encoder_weights->config.vocab_size;
    for (size_t i = begin; i < end; i++)
        if ((size_t)c->encoding.ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "the context's token id %d is beyond the encoder's %zu",
                           c->encoding.ids[i], vocab_size);
    return SP_OK;
}

/* Cuts a group from token *begin on, which moves on. */
static sp_status cut_group(sp_context_slots *c, const char *text, size_t n_bytes, size_t *begin) {
    const sp_layout layout = sp_trained_layout(c->trained);
    sp_batch_clear(&c->batch);
    for (size_t i = 0; i < SEGMENTS_AT_ONCE && *begin < c->encoding.n; i++) {
        const size_t end =
            sp_segment_end(&c->encoding, text, n_bytes, *begin, layout.segment_tokens);
        SP_TRY(check_ids(c, *begin, end));
        SP_TRY(
            sp_layout_add_encoder(&layout, &c->batch, c->encoding.ids + *begin, end - *begin, 0));
        SP_TRY(grow(&c->n_slots, c->n_segments + 1, c->n_segments, &c->segment_capacity,
                    sizeof *c->n_slots));
        c->n_slots[c->n_segments++] = sp_layout_n_slots(&layout, end - *begin);
        *begin = end;
    }
    return SP_OK;
}

/* Appends the group's slots to the n_before that are there. */
static sp_status encode_group(sp_context_slots *c, size_t n_before) {
    sp_compressor *compressor = c->trained->models.compressor;
    const size_t n = c->batch.n_taken, d_out = compressor->converter.out.n_out;
    SP_TRY(
        grow(&c->memory, n, 0, &c->memory_capacity, compressor->converter.in.n_in * sizeof(float)));
    SP_TRY(grow(&c->slots, n_before + n, n_before, &c->slots_capacity, d_out * sizeof(float)));
    SP_TRY(sp_compressor_encode(compressor, &c->batch, c->memory, &c->workspace));
    return sp_compressor_convert(compressor, c->slots + n_before * d_out, c->memory, n,
                                 &c->workspace);
}

sp_status sp_context_slots_read(sp_context_slots *c, const char *text, size_t n_bytes) {
    size_t n = 0;
    c->n_segments = 0;
    SP_TRY(sp_tokenizer_encode(c->tokenizer, &c->encoding, text, n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    for (size_t begin = 0; begin < c->encoding.n;) {
        SP_TRY(cut_group(c, text, n_bytes, &begin));
        SP_TRY(encode_group(c, n));
        n += c->batch.n_taken;
    }
    return SP_OK;
}
