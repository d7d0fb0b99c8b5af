#include "run/compress.h"

#include "base/clock.h"
#include "base/log.h"
#include "mpi/agree.h"
#include "run/compress_blocks.h"
#include "run/compress_parts.h"
#include "run/compress_source.h"
#include "run/compress_work.h"
#include "run/outline.h"
#include "run/stop_signal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the checkpoint ---- */

static sp_status open_checkpoint(sp_compress_work *work, sp_sides sides) {
    const sp_compress_job *job = work->job;
    sp_trained_close(&work->trained);
    SP_TRY(sp_trained_open(&work->trained, job->checkpoint, job->assignments, job->n_assignments,
                           sides));
    return sp_trained_use_ratio(&work->trained, job->ratio);
}

/* What can be told without the encoder. */
static sp_status open_job(sp_compress_work *work) {
    const sp_compress_job *job = work->job;
    if (asprintf(&work->dir, "%s.work", job->output) < 0) {
        work->dir = NULL;
        return sp_fail(SP_FAILURE, "no memory for a path beside '%s'", job->output);
    }
    SP_TRY(open_checkpoint(work, SP_SIDES_NEITHER));
    if (job->n_refinements > 0 && job->space != SP_SLOTS_DECODER)
        return sp_fail(SP_USAGE, "--refine: the decoder's slots are refined; with --space slots");
    return SP_OK;
}

static sp_status open_encoder(sp_compress_work *work) {
    const sp_compress_job *job = work->job;
    SP_TRY(open_checkpoint(work, job->n_refinements > 0 ? SP_SIDES_BOTH : SP_SIDES_ENCODER));
    const sp_converter *converter = &work->trained.models.compressor->converter;
    work->layout = sp_trained_layout(&work->trained);
    work->d = job->space == SP_SLOTS_MEMORY ? converter->in.n_in : converter->out.n_out;
    work->info = (sp_slots_info){.space = job->space,
                                 .dtype = job->dtype,
                                 .d = work->d,
                                 .ratio = (double)work->layout.ratio,
                                 .compressor_digest = work->trained.digest,
                                 .has_text = job->keeps_text,
                                 .n_refinements = job->n_refinements,
                                 .job_digest = work->digest};
    return SP_OK;
}

/* ---- what it is worth ---- */

/* FLOP of the forward pass of blocks [begin, end) for a batch. */
static double forward_flop(const sp_chain *chain, size_t begin, size_t end, const sp_batch *batch) {
    double flop = 0;
    for (size_t i = begin; i < end; i++)
        flop += chain->blocks[i]->kind->cost(chain->blocks[i], batch).flop_forward;
    return flop;
}

/* A full segment as the encoder reads it, and as the decoder does: its text, or its memory. */
static sp_status fill(const sp_compress_work *work, sp_batch *batch, bool as_text) {
    const size_t n = work->layout.segment_tokens;
    int32_t seq = 0;
    size_t slot = 0, n_slots = sp_layout_n_slots(&work->layout, n);
    void *ids = NULL;
    sp_batch_clear(batch);
    SP_TRY(sp_alloc_array(&ids, n, sizeof(int32_t), "a segment"));
    sp_status status = sp_layout_add_encoder(&work->layout, batch, ids, n, 0);
    free(ids);
    if (status == SP_OK) status = sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 0, &seq);
    for (size_t i = 0; as_text && i < n && status == SP_OK; i++)
        status = sp_batch_add_row(batch, SP_DECODER, 0);
    if (!as_text && status == SP_OK)
        status = sp_layout_add_memory(&work->layout, batch, &n_slots, 1, &slot);
    return status;
}

/* FLOP of refining a full segment: all steps, forward and backward, and the last look. */
static sp_status refinement_flop(const sp_compress_work *work, const sp_chain *chain, size_t begin,
                                 sp_batch *batch, double *flop) {
    const size_t n = work->layout.segment_tokens, n_steps = work->job->n_refinements;
    void *ids = NULL;
    double forward = 0, backward = 0;
    sp_batch_clear(batch);
    SP_TRY(sp_alloc_array(&ids, n, sizeof(int32_t), "a segment"));
    const sp_sample sample = {.encoder_ids = ids,
                              .n_encoder_ids = n,
                              .decoder_ids = ids,
                              .n_decoder_ids = n,
                              .reconstructs = true};
    const sp_status status = sp_layout_add_sample(&work->layout, batch, &sample);
    free(ids);
    batch->is_training = true;
    for (size_t i = begin; i < chain->n_blocks && status == SP_OK; i++) {
        const sp_cost cost = chain->blocks[i]->kind->cost(chain->blocks[i], batch);
        forward += cost.flop_forward;
        backward += cost.flop_backward;
    }
    batch->is_training = false;
    *flop = n_steps == 0 ? 0 : (double)(n_steps + 1) * forward + (double)n_steps * backward;
    return status;
}

static sp_status estimate_with(sp_compress_work *work, const sp_outline *outline, sp_batch *batch) {
    const sp_compressor *c = outline->compressor;
    const sp_chain *chain = &c->chain;
    const size_t decoder = c->encoder_end + 1;
    sp_compress_summary *summary = &work->summary;
    const double n_segments = (double)summary->n_tokens / (double)work->layout.segment_tokens;
    SP_TRY(fill(work, batch, true));
    const double of_encoder = forward_flop(chain, 0, decoder, batch);
    /* A prefill needs no logits. */
    const double of_text = forward_flop(chain, decoder, chain->n_blocks - 1, batch);
    SP_TRY(fill(work, batch, false));
    const double of_slots = forward_flop(chain, decoder, chain->n_blocks - 1, batch);
    double of_refining = 0;
    SP_TRY(refinement_flop(work, chain, decoder, batch, &of_refining));
    summary->compression_flop = n_segments * (of_encoder + of_refining);
    summary->saved_flop = n_segments * (of_text - of_slots);
    return SP_OK;
}

/* A decoder that is not there is no reason to fail. */
static void estimate(sp_compress_work *work) {
    sp_outline outline = {0};
    sp_batch batch = {0};
    if (sp_outline_create(&outline, &work->trained.config) == SP_OK &&
        estimate_with(work, &outline, &batch) != SP_OK)
        sp_log(SP_LOG_DEBUG, "%s", sp_message());
    sp_batch_free(&batch);
    sp_outline_release(&outline);
}

/* ---- all of it ---- */

/* What can be told from a finished output. */
static sp_status describe_done(sp_compress_work *work) {
    sp_compress_summary *summary = &work->summary;
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, work->job->output));
    *summary = (sp_compress_summary){.was_done = true,
                                     .n_documents = sp_slots_n_documents(slots),
                                     .n_segments = sp_slots_n_segments(slots),
                                     .n_slots = sp_slots_n_slots(slots)};
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < summary->n_segments; i++) {
        sp_slots_segment segment = {0};
        status = sp_slots_get_segment(slots, i, &segment);
        summary->n_tokens += segment.n_tokens;
        summary->n_text_bytes += segment.byte_len;
    }
    sp_slots_close(slots);
    if (status == SP_OK) sp_log(SP_LOG_INFO, "'%s' is finished: nothing to do", work->job->output);
    return status;
}

static sp_status begin(sp_compress_work *work) {
    if (sp_compress_is_done(work)) {
        SP_TRY(describe_done(work));
        return sp_remove_tree(work->dir); /* a kill may have come before this */
    }
    return sp_compress_open_folder(work);
}

static sp_status compress(sp_compress_work *work) {
    sp_world *world = work->world;
    const bool is_first = sp_world_rank(world) == 0;
    sp_stop_signal_watch();
    SP_TRY(sp_agree(world, open_job(work)));
    SP_TRY(sp_compress_identify(work));
    SP_TRY(sp_agree(world, is_first ? begin(work) : SP_OK));
    sp_world_broadcast(world, &work->summary, sizeof work->summary, 0);
    if (work->summary.was_done) return SP_OK;
    SP_TRY(sp_agree(world, open_encoder(work)));
    SP_TRY(sp_compress_open_tokens(work));
    SP_TRY(sp_compress_encode(work));
    SP_TRY(sp_compress_assemble(work));
    if (is_first) estimate(work);
    return SP_OK;
}

sp_status sp_compress(sp_world *world, const sp_compress_job *job, sp_compress_summary *summary) {
    sp_compress_work work = {.world = world, .job = job};
    const double begin_s = sp_clock_seconds();
    sp_status status = compress(&work);
    sp_tokens_close(work.tokens);
    if (status == SP_OK && !work.summary.was_done)
        status = sp_agree(world, work.lock.is_held ? sp_compress_remove_folder(&work) : SP_OK);
    else
        sp_compress_leave_folder(&work);
    sp_corpus_close(work.corpus);
    sp_trained_close(&work.trained);
    free(work.dir);
    if (status == SP_OK) sp_world_broadcast(world, &work.summary, sizeof work.summary, 0);
    work.summary.seconds = sp_clock_seconds() - begin_s;
    if (status == SP_OK) *summary = work.summary;
    return status;
}
