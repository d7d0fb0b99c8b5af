#include "run/compress_group.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- room ---- */

static size_t longest_segment(const sp_compress_work *work, size_t stream) {
    size_t longest = 0;
    for (size_t i = 0; i < sp_tokens_n_segments(work->tokens); i++) {
        const size_t n = sp_tokens_length(work->tokens, stream, i);
        if (n > longest) longest = n;
    }
    return longest;
}

/* Rotary tables grow where a sequence is longer than any before: not beside other threads. */
static sp_status reserve_models(const sp_compress_work *work, size_t longest,
                                size_t decoder_longest) {
    enum { N_AROUND = 4 }; /* BOS, and the three markers */
    const sp_compressor *compressor = work->trained.models.compressor;
    const size_t n_slots = sp_run_config_most_slots(&work->trained.config);
    SP_TRY(sp_transformer_reserve(compressor->encoder, longest + n_slots));
    if (work->job->n_refinements == 0) return SP_OK;
    return sp_transformer_reserve(compressor->decoder, N_AROUND + n_slots + decoder_longest);
}

sp_status sp_compress_group_reserve(sp_compress_group *g, const sp_compress_work *work) {
    const size_t n_slots = SP_COMPRESS_GROUP * sp_run_config_most_slots(&work->trained.config);
    const size_t d_memory = work->trained.models.compressor->converter.in.n_in, d = work->d;
    const bool refines = work->job->n_refinements > 0;
    const size_t longest = longest_segment(work, work->stream);
    const size_t decoder_longest = refines ? longest_segment(work, work->decoder_stream) : 0;
    const struct {
        void **place;
        size_t n, item_bytes;
    } blocks[] = {
        {(void **)&g->ids, longest, sizeof *g->ids},
        {(void **)&g->decoder_ids, decoder_longest, sizeof *g->decoder_ids},
        {(void **)&g->memory, n_slots, d_memory * sizeof *g->memory},
        {(void **)&g->slots, n_slots, d * sizeof *g->slots},
        {(void **)&g->rounded, n_slots, d * sizeof *g->rounded},
        {(void **)&g->packed, n_slots, d * sizeof(uint16_t)},
        {(void **)&g->packed_scales, n_slots, sizeof *g->packed_scales},
    };
    g->work = work;
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        SP_TRY(sp_alloc_array(blocks[i].place, blocks[i].n, blocks[i].item_bytes, "a group"));
    if (refines)
        sp_refiner_init(&g->refiner, work->trained.models.compressor, work->job->n_refinements);
    return reserve_models(work, longest, decoder_longest);
}

void sp_compress_group_release(sp_compress_group *g) {
    sp_refiner_release(&g->refiner);
    sp_workspace_release(&g->workspace);
    sp_batch_free(&g->batch);
    free(g->packed_scales);
    free(g->packed);
    free(g->rounded);
    free(g->slots);
    free(g->memory);
    free(g->decoder_ids);
    free(g->ids);
    *g = (sp_compress_group){0};
}

/* ---- what is encoded ---- */

/* The segment's document cannot be compressed, as the present message says. */
static sp_status poison(const sp_compress_group *g, const sp_compress_target *target,
                        size_t segment, sp_status status) {
    const sp_compress_work *work = g->work;
    char *id = NULL;
    if (work->job->corpus.on_error == SP_ON_ERROR_SKIP) {
        target->is_poisoned[segment - target->first] =
            status == SP_NUMERIC ? SP_POISON_VALUES : SP_POISON_TOKENS;
        return SP_OK;
    }
    SP_TRY(sp_tokens_document_id(work->tokens, sp_tokens_document(work->tokens, segment), &id));
    status = sp_fail(status, "document '%s' cannot be compressed: %s", id, sp_message());
    free(id);
    return status;
}

/* Reads a segment's ids, each of which must be below vocab_size. */
static sp_status read_ids(const sp_compress_work *work, size_t stream, size_t segment,
                          size_t vocab_size, const char *model, int32_t *ids) {
    const size_t n = sp_tokens_length(work->tokens, stream, segment);
    SP_TRY(sp_tokens_read(work->tokens, stream, segment, ids));
    for (size_t i = 0; i < n; i++)
        if ((size_t)ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "token id %d is beyond the %s's %zu", ids[i], model,
                           vocab_size);
    return SP_OK;
}

/* Adds a member to the batch. */
static sp_status add_segment(sp_compress_group *g, size_t segment) {
    const sp_compress_work *work = g->work;
    const size_t n = g->n_members;
    const sp_models *models = &work->trained.models;
    const size_t n_ids = sp_tokens_length(work->tokens, work->stream, segment);
    SP_TRY(read_ids(work, work->stream, segment, models->encoder_weights->config.vocab_size,
                    "encoder", g->ids));
    g->n_slots[n] = sp_compress_n_slots(work, segment);
    if (work->job->n_refinements == 0)
        return sp_layout_add_encoder(&work->layout, &g->batch, g->ids, n_ids, 0);
    const size_t n_decoder_ids = sp_tokens_length(work->tokens, work->decoder_stream, segment);
    SP_TRY(read_ids(work, work->decoder_stream, segment, models->decoder_weights->config.vocab_size,
                    "decoder", g->decoder_ids));
    g->n_targets[n] = sp_layout_n_targets(&work->layout, n_decoder_ids);
    return sp_layout_add_sample(&work->layout, &g->batch,
                                &(sp_sample){.encoder_ids = g->ids,
                                             .n_encoder_ids = n_ids,
                                             .decoder_ids = g->decoder_ids,
                                             .n_decoder_ids = n_decoder_ids,
                                             .reconstructs = true});
}

/* Adds what rounding n slots to each type would take. */
static void measure(sp_compress_group *g, sp_compress_sums *sums, const float *slots, size_t n) {
    const size_t d = g->work->d;
    for (size_t i = 0; i < n * d; i++) sums->squares += (double)slots[i] * (double)slots[i];
    for (int type = 0; type < SP_N_SLOTS_DTYPES; type++) {
        const sp_slots_dtype dtype = (sp_slots_dtype)type;
        if (sp_slots_pack(dtype, g->packed, g->packed_scales, slots, n, d) != SP_OK) {
            sums->lost[type] = (double)INFINITY;
            continue;
        }
        sp_slots_unpack(dtype, g->rounded, g->packed, g->packed_scales, n, d);
        for (size_t i = 0; i < n * d; i++) {
            const double lost = (double)slots[i] - (double)g->rounded[i];
            sums->lost[type] += lost * lost;
        }
    }
}

/* Encodes the batch to g->slots, in the space that is asked for. */
static sp_status run_batch(sp_compress_group *g, sp_compress_sums *sums) {
    const sp_compress_work *work = g->work;
    sp_compressor *compressor = work->trained.models.compressor;
    if (work->job->space == SP_SLOTS_MEMORY)
        return sp_compressor_encode(compressor, &g->batch, g->slots, &g->workspace);
    SP_TRY(sp_compressor_encode(compressor, &g->batch, g->memory, &g->workspace));
    SP_TRY(sp_compressor_convert(compressor, g->slots, g->memory, g->batch.n_taken, &g->workspace));
    if (work->job->n_refinements == 0) return SP_OK;
    return sp_refine(&g->refiner, &g->batch, g->slots, g->n_slots, g->n_targets, g->n_members,
                     &g->workspace, &sums->loss);
}

static sp_status store_members(sp_compress_group *g, const sp_compress_target *target,
                               sp_compress_sums *sums) {
    const sp_slots_dtype dtype = g->work->job->dtype;
    const float *slots = g->slots;
    const size_t d = g->work->d;
    for (size_t i = 0; i < g->n_members; i++) {
        const size_t begin = g->begins[i], n = g->n_slots[i];
        const sp_status status =
            sp_slots_pack(dtype, target->values + sp_slots_value_bytes(dtype, begin * d),
                          target->scales + begin, slots, n, d);
        if (status == SP_NUMERIC)
            SP_TRY(poison(g, target, g->segments[i], status));
        else
            measure(g, sums, slots, n);
        slots += n * d;
    }
    return SP_OK;
}

static sp_status run(sp_compress_group *g, const sp_compress_target *target, size_t begin,
                     size_t end, size_t slot, sp_compress_sums *sums) {
    sp_batch_clear(&g->batch);
    g->n_members = 0;
    for (size_t i = begin; i < end; i++) {
        const size_t n_slots = sp_compress_n_slots(g->work, i);
        const sp_status status = n_slots > 0 ? add_segment(g, i) : SP_OK;
        if (status == SP_BAD_DATA) {
            SP_TRY(poison(g, target, i, status));
        } else if (status != SP_OK) {
            return status;
        } else if (n_slots > 0) {
            g->segments[g->n_members] = i;
            g->begins[g->n_members++] = slot;
        }
        slot += n_slots;
    }
    if (g->batch.n_taken == 0) return SP_OK;
    SP_TRY(run_batch(g, sums));
    return store_members(g, target, sums);
}

sp_status sp_compress_group_run(sp_compress_group *g, const sp_compress_target *target,
                                size_t begin, size_t end, size_t slot, sp_compress_sums *sums) {
    const sp_status status = run(g, target, begin, end, slot, sums);
    if (status != SP_OK && g->status == SP_OK) {
        /* The message is this thread's, and is to be told by another. */
        snprintf(g->message, sizeof g->message, "%s", sp_message());
        g->status = status;
    }
    return status;
}
