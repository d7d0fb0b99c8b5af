#include "run/evaluate.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "run/decoding.h"
#include "run/samples.h"
#include "run/trained.h"
#include "text/bleu.h"
#include "text/json_text.h"
#include "text/rouge.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Consecutive segments in one pass: fixed, so that results do not depend on the ranks. */
enum { SEGMENTS_AT_ONCE = 8 };

/* Sums over segments, added up over ranks. */
typedef struct sums {
    sp_bleu bleu;
    uint64_t n_segments, n_exact, n_targets, n_correct;
    double bleu_sentence, rouge_l, rouge_l_stem, nll;
} sums;

typedef struct evaluation {
    sp_world *world;
    const sp_evaluate_job *job;
    sp_trained trained;
    sp_tokens *tokens;
    sp_samples samples;
    const uint32_t *segments; /* [n_segments], borrowed from samples, or `all` */
    size_t n_segments;
    const char *split;
    uint32_t *all;
    json_t *tokenizer_json;
    sp_tokenizer *tokenizer;
    sp_batch batch, prompts;
    sp_workspace workspace;
    float *memory, *slots; /* of one group */
    size_t slots_capacity;
    int32_t *ids;
    size_t ids_capacity;
    sums sums;
    json_t *shown; /* this rank's samples */
    sp_progress progress;
} evaluation;

static sp_status choose_all(evaluation *e) {
    const size_t n = sp_tokens_n_segments(e->tokens);
    void *all = NULL;
    SP_TRY(sp_alloc_array(&all, n, sizeof *e->all, "segments"));
    e->all = all;
    for (size_t i = 0; i < n; i++) e->all[i] = (uint32_t)i;
    e->segments = e->all;
    e->n_segments = n;
    e->split = "all";
    return SP_OK;
}

static sp_status choose_segments(evaluation *e) {
    const sp_samples *samples = &e->samples;
    if (e->job->split == SP_SPLIT_HELD_OUT && samples->n_held_out > 0) {
        e->segments = samples->held_out;
        e->n_segments = samples->n_held_out;
        e->split = "held-out";
    } else if (e->job->split == SP_SPLIT_TRAINED) {
        e->segments = samples->trained;
        e->n_segments = samples->n_trained;
        e->split = "trained";
    } else {
        if (e->job->split == SP_SPLIT_HELD_OUT)
            sp_log(SP_LOG_WARNING, "no segment is held out; all are evaluated");
        SP_TRY(choose_all(e));
    }
    if (e->n_segments == 0)
        return sp_fail(SP_BAD_DATA, "no segment of the split '%s' to evaluate", e->split);
    if (e->n_segments > e->job->most_segments) e->n_segments = e->job->most_segments;
    return SP_OK;
}

/* The token file to evaluate is the configuration's, unless the job names one. */
static sp_status choose_tokens(sp_run_config *config, const char *path) {
    if (path == NULL) return SP_OK;
    char *copy = strdup(path);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    free(config->data.tokens);
    config->data.tokens = copy;
    return SP_OK;
}

static sp_status open_evaluation(evaluation *e) {
    SP_TRY(sp_trained_open(&e->trained, e->job->checkpoint, e->job->assignments,
                           e->job->n_assignments, SP_SIDES_BOTH));
    SP_TRY(choose_tokens(&e->trained.config, e->job->tokens));
    const sp_run_config *config = &e->trained.config;
    SP_TRY(sp_tokens_open(&e->tokens, config->data.tokens));
    SP_TRY(sp_samples_open(&e->samples, e->tokens, config));
    e->samples.layout = sp_trained_layout(&e->trained);
    e->samples.completes = false;
    e->samples.reconstructs = true;
    SP_TRY(choose_segments(e));
    SP_TRY(sp_tokenizer_json_load(&e->tokenizer_json, config->decoder.model));
    SP_TRY(sp_tokenizer_create(&e->tokenizer, e->tokenizer_json, config->decoder.model));
    e->shown = json_array();
    return SP_OK;
}

static sp_status reserve_slots(evaluation *e, size_t n) {
    if (n <= e->slots_capacity) return SP_OK;
    const sp_converter *converter = &e->trained.models.compressor->converter;
    void *memory = NULL, *slots = NULL;
    SP_TRY(sp_alloc_array(&memory, n, converter->in.n_in * sizeof(float), "memory"));
    free(e->memory);
    e->memory = memory;
    SP_TRY(sp_alloc_array(&slots, n, converter->out.n_out * sizeof(float), "slots"));
    free(e->slots);
    e->slots = slots;
    e->slots_capacity = n;
    return SP_OK;
}

/* Teacher-forced figures of the batch, and its slots. */
static sp_status force_group(evaluation *e, const uint32_t *segments, size_t n) {
    sp_compressor *c = e->trained.models.compressor;
    SP_TRY(sp_samples_fill_segments(&e->samples, &e->batch, segments, n));
    SP_TRY(sp_compressor_reserve(c, &e->batch, 0, c->chain.n_blocks, NULL, &e->workspace));
    (void)sp_chain_run(&c->chain, 0, c->chain.n_blocks, &e->batch, NULL, &e->workspace);
    e->sums.nll += e->batch.loss_sum[SP_RECONSTRUCTION];
    e->sums.n_targets += e->batch.n_targets[SP_RECONSTRUCTION];
    e->sums.n_correct += e->batch.n_correct[SP_RECONSTRUCTION];
    SP_TRY(reserve_slots(e, e->batch.n_taken));
    SP_TRY(sp_compressor_encode(c, &e->batch, e->memory, &e->workspace));
    return sp_compressor_convert(c, e->slots, e->memory, e->batch.n_taken, &e->workspace);
}

/* Only the first segment of a document in the stream that cut it does not go on from another. */
static sp_decode_options decode_options(const evaluation *e, size_t segment) {
    const bool is_documents_first = segment == 0 || sp_tokens_document(e->tokens, segment - 1) !=
                                                        sp_tokens_document(e->tokens, segment);
    return (sp_decode_options){.is_continuation =
                                   e->samples.decoder_stream > 0 || !is_documents_first};
}

static sp_status read_reference(evaluation *e, size_t segment, char **text, size_t *n_bytes) {
    const size_t stream = e->samples.decoder_stream;
    const size_t n = sp_tokens_length(e->tokens, stream, segment);
    if (n > e->ids_capacity) {
        int32_t *grown = realloc(e->ids, n * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu token ids", n);
        e->ids = grown;
        e->ids_capacity = n;
    }
    SP_TRY(sp_tokens_read(e->tokens, stream, segment, e->ids));
    return sp_tokenizer_decode(e->tokenizer, text, n_bytes, e->ids, n, decode_options(e, segment));
}

static sp_status compare(evaluation *e, size_t segment, const char *made, size_t made_len,
                         const char *wanted, size_t wanted_len) {
    double sentence = 0, rouge = 0, rouge_stem = 0;
    SP_TRY(sp_bleu_add(&e->sums.bleu, made, made_len, wanted, wanted_len));
    SP_TRY(sp_bleu_sentence(&sentence, made, made_len, wanted, wanted_len));
    SP_TRY(sp_rouge_l(&rouge, made, made_len, wanted, wanted_len));
    SP_TRY(sp_rouge_l_stem(&rouge_stem, made, made_len, wanted, wanted_len));
    e->sums.bleu_sentence += sentence;
    e->sums.rouge_l += rouge;
    e->sums.rouge_l_stem += rouge_stem;
    e->sums.n_exact += made_len == wanted_len && memcmp(made, wanted, made_len) == 0;
    e->sums.n_segments++;
    if (sp_world_rank(e->world) != 0 || json_array_size(e->shown) >= e->job->n_samples)
        return SP_OK;
    char *document = NULL;
    SP_TRY(sp_tokens_document_id(e->tokens, sp_tokens_document(e->tokens, segment), &document));
    json_array_append_new(e->shown,
                          json_pack("{s:I, s:o, s:o, s:o}", "segment", (json_int_t)segment,
                                    "document", sp_json_from_bytes(document, strlen(document)),
                                    "reference", sp_json_from_bytes(wanted, wanted_len),
                                    "reconstruction", sp_json_from_bytes(made, made_len)));
    free(document);
    return SP_OK;
}

static sp_status compare_segment(evaluation *e, size_t segment, const int32_t *ids, size_t n_ids) {
    char *made = NULL, *wanted = NULL;
    size_t made_len = 0, wanted_len = 0;
    sp_status status =
        sp_tokenizer_decode(e->tokenizer, &made, &made_len, ids, n_ids, decode_options(e, segment));
    if (status == SP_OK) status = read_reference(e, segment, &wanted, &wanted_len);
    if (status == SP_OK) status = compare(e, segment, made, made_len, wanted, wanted_len);
    free(made);
    free(wanted);
    return status;
}

static sp_status run_free(evaluation *e, const uint32_t *segments, size_t n) {
    const sp_decoding_limits limits =
        sp_models_decoding_limits(&e->trained.models, e->job->max_new_tokens);
    const sp_layout *layout = &e->samples.layout;
    sp_decoded decoded = {0};
    size_t slot = 0;
    sp_batch_clear(&e->prompts);
    for (size_t i = 0; i < n; i++) {
        const size_t n_tokens = sp_tokens_length(e->tokens, e->samples.encoder_stream, segments[i]);
        SP_TRY(sp_layout_add_reconstruction_prompt(layout, &e->prompts,
                                                   sp_layout_n_slots(layout, n_tokens), &slot));
    }
    sp_status status = sp_decode_greedily(&decoded, e->trained.models.compressor->decoder,
                                          &e->prompts.rows[SP_DECODER], e->slots, &limits);
    for (size_t i = 0; status == SP_OK && i < n; i++)
        status = compare_segment(e, segments[i], decoded.ids[i], decoded.lens[i]);
    sp_decoded_free(&decoded);
    return status;
}

/* Groups are dealt to the ranks in turn. */
static sp_status evaluate_share(evaluation *e) {
    const size_t stride = SEGMENTS_AT_ONCE * (size_t)sp_world_size(e->world);
    size_t begin = SEGMENTS_AT_ONCE * (size_t)sp_world_rank(e->world);
    for (; begin < e->n_segments; begin += stride) {
        const size_t left = e->n_segments - begin;
        const size_t n = left < SEGMENTS_AT_ONCE ? left : SEGMENTS_AT_ONCE;
        SP_TRY(force_group(e, e->segments + begin, n));
        SP_TRY(run_free(e, e->segments + begin, n));
        const size_t done = begin + stride;
        sp_progress_update(&e->progress, done < e->n_segments ? done : e->n_segments, NULL);
    }
    return SP_OK;
}

static void add_up(evaluation *e) {
    sums *s = &e->sums;
    double reals[] = {s->bleu_sentence, s->rouge_l, s->rouge_l_stem, s->nll};
    uint64_t counts[] = {s->n_segments, s->n_exact, s->n_targets, s->n_correct};
    sp_world_sum_double(e->world, reals, 4);
    sp_world_sum_u64(e->world, counts, 4);
    sp_world_sum_u64(e->world, s->bleu.matches, SP_BLEU_ORDER);
    sp_world_sum_u64(e->world, s->bleu.totals, SP_BLEU_ORDER);
    sp_world_sum_u64(e->world, &s->bleu.hypothesis_len, 1);
    sp_world_sum_u64(e->world, &s->bleu.reference_len, 1);
    s->bleu_sentence = reals[0];
    s->rouge_l = reals[1];
    s->rouge_l_stem = reals[2];
    s->nll = reals[3];
    s->n_segments = counts[0];
    s->n_exact = counts[1];
    s->n_targets = counts[2];
    s->n_correct = counts[3];
}

static sp_status make_result(json_t **result, evaluation *e, double seconds) {
    const sums *s = &e->sums;
    const double n = (double)s->n_segments, targets = (double)s->n_targets;
    *result =
        json_pack("{s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:O}", "segments",
                  (json_int_t)s->n_segments, "split", e->split, "ratio",
                  (json_int_t)e->trained.config.segment.ratio, "bleu", sp_bleu_score(&s->bleu),
                  "bleu_sentence", 100 * s->bleu_sentence / n, "rouge_l", s->rouge_l / n,
                  "rouge_l_stem", s->rouge_l_stem / n, "exact_match", (double)s->n_exact / n,
                  "token_accuracy", (double)s->n_correct / targets, "perplexity",
                  exp(s->nll / targets), "seconds", seconds, "samples", e->shown);
    if (*result != NULL) return SP_OK;
    return sp_fail(SP_NUMERIC, "the evaluation's figures are not finite");
}

static sp_status evaluate(evaluation *e, json_t **result) {
    const double begin_s = sp_clock_seconds();
    SP_TRY(sp_agree(e->world, open_evaluation(e)));
    sp_progress_begin(&e->progress, "evaluate", e->n_segments, "segments");
    const sp_status status = evaluate_share(e);
    sp_progress_end(&e->progress);
    SP_TRY(sp_agree(e->world, status));
    add_up(e);
    const bool is_first = sp_world_rank(e->world) == 0;
    return sp_agree(e->world,
                    is_first ? make_result(result, e, sp_clock_seconds() - begin_s) : SP_OK);
}

sp_status sp_evaluate_reconstruction(sp_world *world, json_t **result, const sp_evaluate_job *job) {
    evaluation e = {.world = world, .job = job};
    const sp_status status = evaluate(&e, result);
    free(e.ids);
    free(e.memory);
    free(e.slots);
    free(e.all);
    json_decref(e.shown);
    sp_workspace_release(&e.workspace);
    sp_batch_free(&e.batch);
    sp_batch_free(&e.prompts);
    sp_tokenizer_destroy(e.tokenizer);
    json_decref(e.tokenizer_json);
    sp_samples_close(&e.samples);
    sp_tokens_close(e.tokens);
    sp_trained_close(&e.trained);
    return status;
}
