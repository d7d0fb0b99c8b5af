#include "run/evaluate_reconstruction.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "run/decoding.h"
#include "run/evaluate_figures.h"
#include "run/evaluate_items.h"
#include "run/samples.h"
#include "run/stored_slots.h"
#include "run/trained.h"
#include "text/json_text.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Consecutive segments of a group (evaluate_methods.h) in one pass with the text given. */
enum { SEGMENTS_AT_ONCE = 8 };

typedef struct evaluation {
    sp_world *world;
    const sp_reconstruction_job *job;
    const sp_compressor_choice *compressor;
    sp_trained trained;
    sp_stored_slots stored;
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
    float *memory; /* of one pass */
    size_t memory_capacity;
    float *slots; /* [n_slots], of one group */
    size_t n_slots, slots_capacity;
    int32_t *ids;
    size_t ids_capacity;
    sp_items items; /* the segments, with their figures (evaluate_figures.h), by one method */
    double *nll;    /* of a pass's targets */
    size_t nll_capacity;
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
    const sp_methods_options *o = &e->job->compressors;
    const char *slots = e->compressor->slots;
    SP_TRY(sp_trained_open(&e->trained, e->compressor->checkpoint, o->assignments, o->n_assignments,
                           slots != NULL ? SP_SIDES_DECODER : SP_SIDES_BOTH));
    SP_TRY(sp_trained_use_ratio(&e->trained, e->compressor->ratio));
    if (slots != NULL) SP_TRY(sp_stored_slots_open(&e->stored, slots, &e->trained));
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
    return sp_items_begin(&e->items, e->world,
                          &(sp_evaluate_extent){1, e->n_segments, SP_N_FIGURES}, e->job->n_samples);
}

/* Makes room for the memory of a pass, and for its slots behind those of the group so far. */
static sp_status reserve_slots(evaluation *e, size_t n) {
    const sp_converter *converter = &e->trained.models.compressor->converter;
    const size_t row_bytes = converter->out.n_out * sizeof(float), most = 2 * (e->n_slots + n);
    void *memory = NULL, *slots = NULL;
    if (n > e->memory_capacity) {
        SP_TRY(sp_alloc_array(&memory, n, converter->in.n_in * sizeof(float), "memory"));
        free(e->memory);
        e->memory = memory;
        e->memory_capacity = n;
    }
    if (e->n_slots + n <= e->slots_capacity) return SP_OK;
    SP_TRY(sp_alloc_array(&slots, most, row_bytes, "slots"));
    if (e->n_slots > 0) memcpy(slots, e->slots, e->n_slots * row_bytes);
    free(e->slots);
    e->slots = slots;
    e->slots_capacity = most;
    return SP_OK;
}

static double *figures_of(const evaluation *e, size_t place) {
    return sp_items_figures(&e->items, 0, place);
}

/* Loss and targets of each segment of the batch, whose first is the split's segment `place`. */
static void note_losses(evaluation *e, size_t place, size_t n) {
    const double *nll = e->nll;
    for (size_t i = 0; i < n; i++) {
        double *figures = figures_of(e, place + i);
        const size_t n_ids =
            sp_tokens_length(e->tokens, e->samples.decoder_stream, e->segments[place + i]);
        const size_t n_targets = sp_layout_n_targets(&e->samples.layout, n_ids);
        for (size_t k = 0; k < n_targets; k++) figures[SP_FIGURE_NLL] += *nll++;
        figures[SP_FIGURE_TARGETS] = (double)n_targets;
        figures[SP_FIGURE_LENGTH] =
            (double)sp_tokens_length(e->tokens, e->samples.encoder_stream, e->segments[place + i]);
    }
    figures_of(e, place)[SP_FIGURE_CORRECT] = (double)e->batch.n_correct[SP_RECONSTRUCTION];
}

static sp_status reserve_losses(evaluation *e) {
    const size_t n = e->batch.rows[SP_DECODER].n_rows;
    if (n <= e->nll_capacity) return SP_OK;
    double *grown = realloc(e->nll, n * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu losses", n);
    e->nll = grown;
    e->nll_capacity = n;
    return SP_OK;
}

/* Slots of one pass, as the encoder makes them. */
static sp_status encode_segments(evaluation *e, float *slots) {
    sp_compressor *c = e->trained.models.compressor;
    SP_TRY(sp_compressor_encode(c, &e->batch, e->memory, &e->workspace));
    return sp_compressor_convert(c, slots, e->memory, e->batch.n_taken, &e->workspace);
}

/* The same from the slot file. */
static sp_status read_segments(evaluation *e, float *slots, size_t place, size_t n) {
    const size_t d = e->trained.models.compressor->converter.out.n_out;
    for (size_t i = 0; i < n; i++) {
        const size_t segment = e->segments[place + i], stream = e->samples.encoder_stream;
        size_t found = 0, n_slots = 0;
        SP_TRY(sp_stored_slots_find_segment(&e->stored, e->tokens, stream, segment, &found));
        SP_TRY(sp_converted_slots_count(&e->stored.slots, found, found + 1, &n_slots));
        if (n_slots !=
            sp_layout_n_slots(&e->samples.layout, sp_tokens_length(e->tokens, stream, segment)))
            return sp_fail(SP_BAD_DATA,
                           "'%s', segment %zu: %zu slots, the compressor makes another number",
                           e->compressor->slots, found, n_slots);
        SP_TRY(sp_converted_slots_read(&e->stored.slots, slots, found, found + 1));
        slots += n_slots * d;
    }
    return SP_OK;
}

/* Teacher-forced figures of one pass, and its slots, which become the group's next. */
static sp_status force_segments(evaluation *e, size_t place, size_t n) {
    sp_compressor *c = e->trained.models.compressor;
    const size_t begin = c->encoder_end + 1, end = c->chain.n_blocks;
    SP_TRY(sp_samples_fill_segments(&e->samples, &e->batch, e->segments + place, n));
    const size_t n_slots = e->batch.n_taken;
    SP_TRY(reserve_slots(e, n_slots));
    float *slots = e->slots + e->n_slots * c->converter.out.n_out;
    e->n_slots += n_slots;
    SP_TRY(e->compressor->slots != NULL ? read_segments(e, slots, place, n)
                                        : encode_segments(e, slots));
    SP_TRY(sp_compressor_reserve(c, &e->batch, begin, end, NULL, &e->workspace));
    SP_TRY(reserve_losses(e));
    e->batch.target_nll = e->nll;
    (void)sp_chain_run(&c->chain, begin, end, &e->batch, slots, &e->workspace);
    e->batch.target_nll = NULL;
    note_losses(e, place, n);
    return SP_OK;
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

static sp_status compare_segment(evaluation *e, size_t place, const int32_t *ids, size_t n_ids) {
    const size_t segment = e->segments[place];
    char *made = NULL, *wanted = NULL;
    size_t made_len = 0, wanted_len = 0;
    sp_status status =
        sp_tokenizer_decode(e->tokenizer, &made, &made_len, ids, n_ids, decode_options(e, segment));
    if (status == SP_OK) status = read_reference(e, segment, &wanted, &wanted_len);
    if (status == SP_OK)
        status = sp_figures_compare(figures_of(e, place), made, made_len, wanted, wanted_len);
    if (status == SP_OK) status = sp_items_note(&e->items, 0, place, made, made_len);
    free(made);
    free(wanted);
    return status;
}

static sp_status run_free(evaluation *e, size_t place, size_t n) {
    const sp_decoding_limits limits =
        sp_models_decoding_limits(&e->trained.models, e->job->max_new_tokens);
    const sp_layout *layout = &e->samples.layout;
    sp_decoded decoded = {0};
    size_t slot = 0;
    sp_batch_clear(&e->prompts);
    for (size_t i = 0; i < n; i++) {
        const size_t n_tokens = (size_t)figures_of(e, place + i)[SP_FIGURE_LENGTH];
        SP_TRY(sp_layout_add_reconstruction_prompt(layout, &e->prompts,
                                                   sp_layout_n_slots(layout, n_tokens), &slot));
    }
    sp_status status = sp_decode_greedily(&decoded, e->trained.models.compressor->decoder,
                                          &e->prompts.rows[SP_DECODER], e->slots, &limits);
    for (size_t i = 0; status == SP_OK && i < n; i++)
        status = compare_segment(e, place + i, decoded.ids[i], decoded.lens[i]);
    sp_decoded_free(&decoded);
    return status;
}

static sp_status evaluate_group(evaluation *e, size_t begin, size_t n) {
    e->n_slots = 0;
    for (size_t i = 0; i < n; i += SEGMENTS_AT_ONCE)
        SP_TRY(force_segments(e, begin + i, n - i < SEGMENTS_AT_ONCE ? n - i : SEGMENTS_AT_ONCE));
    SP_TRY(run_free(e, begin, n));
    return sp_items_finish(&e->items, 0, begin, begin + n);
}

static sp_status evaluate_share(evaluation *e) {
    const size_t at_once = sp_methods_group_size(e->n_segments);
    for (size_t begin = 0, end; begin < e->n_segments; begin = end) {
        end = e->n_segments - begin < at_once ? e->n_segments : begin + at_once;
        if (!sp_items_is_open(&e->items, 0, begin, end))
            SP_TRY(sp_items_restore(&e->items, 0, begin, end));
        else if (sp_items_is_mine(&e->items))
            SP_TRY(evaluate_group(e, begin, end - begin));
        sp_progress_update(&e->progress, end, NULL);
    }
    return SP_OK;
}

/* ---- what was there before ---- */

static sp_status make_identity(const evaluation *e, json_t **identity) {
    json_t *compressor = NULL;
    SP_TRY(sp_compressor_choice_identify(&compressor, e->compressor));
    *identity =
        json_pack("{s:i, s:o, s:s, s:s, s:I, s:I}", "format", SP_EVALUATE_FORMAT, "compressor",
                  compressor, "tokens", sp_tokens_digest(e->tokens), "split", e->split, "segments",
                  (json_int_t)e->n_segments, "max_new_tokens", (json_int_t)e->job->max_new_tokens);
    return *identity != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for an identity");
}

static sp_status resume(evaluation *e) {
    json_t *identity = NULL;
    if (e->job->compressors.work == NULL) return SP_OK;
    sp_status status = sp_world_rank(e->world) == 0 ? make_identity(e, &identity) : SP_OK;
    status = sp_agree(e->world, status);
    if (status == SP_OK)
        status = sp_items_resume(&e->items, e->job->compressors.work, "reconstruction", identity);
    json_decref(identity);
    return status;
}

/* ---- results ---- */

static sp_status add_sample(evaluation *e, json_t *samples, size_t place) {
    const size_t segment = e->segments[place];
    char *document = NULL, *wanted = NULL;
    size_t wanted_len = 0;
    json_t *sample = NULL;
    sp_status status =
        sp_tokens_document_id(e->tokens, sp_tokens_document(e->tokens, segment), &document);
    if (status == SP_OK) status = read_reference(e, segment, &wanted, &wanted_len);
    if (status == SP_OK) {
        sample = json_pack("{s:I, s:o, s:o, s:o}", "segment", (json_int_t)segment, "document",
                           sp_json_from_bytes(document, strlen(document)), "reference",
                           sp_json_from_bytes(wanted, wanted_len), "reconstruction",
                           sp_items_text(&e->items, 0, place));
        if (json_array_append_new(samples, sample) != 0)
            status = sp_fail(SP_FAILURE, "no memory for a sample");
    }
    free(document);
    free(wanted);
    return status;
}

static sp_status add_samples(evaluation *e, json_t *result) {
    json_t *samples = json_array();
    if (json_object_set_new(result, "samples", samples) != 0)
        return sp_fail(SP_FAILURE, "no memory for samples");
    for (size_t place = 0; place < e->n_segments && place < e->job->n_samples; place++)
        SP_TRY(add_sample(e, samples, place));
    return SP_OK;
}

/* In quarters of a full segment. */
static sp_status report_lengths(const evaluation *e, json_t *lengths) {
    enum { N_QUARTERS = 4 };
    const size_t full = e->trained.config.segment.tokens;
    for (size_t q = 0; q < N_QUARTERS; q++) {
        const size_t from = full * q / N_QUARTERS, to = full * (q + 1) / N_QUARTERS;
        size_t n = 0;
        json_t *bucket = json_pack("{s:I, s:I}", "min_tokens", (json_int_t)from + 1, "max_tokens",
                                   (json_int_t)to);
        const sp_status status =
            sp_figures_report(bucket, &n, e->items.figures, e->n_segments, from, to);
        if (status == SP_OK && n > 0) json_array_append(lengths, bucket);
        json_decref(bucket);
        SP_TRY(status);
    }
    return SP_OK;
}

/* Of one checkpoint, on rank 0. */
static sp_status report(evaluation *e, json_t *result) {
    const double n_targets = sp_items_sum(&e->items, 0, SP_FIGURE_TARGETS);
    const double n_correct = sp_items_sum(&e->items, 0, SP_FIGURE_CORRECT);
    size_t n = 0;
    json_object_set_new(result, "ratio", json_integer((json_int_t)e->trained.ratio));
    json_object_set_new(result, "checkpoint", json_string(e->compressor->checkpoint));
    if (e->compressor->slots != NULL) {
        const sp_slots_info *info = sp_slots_get_info(e->stored.slots.file);
        json_object_set_new(result, "slots", json_string(e->compressor->slots));
        json_object_set_new(result, "dtype", json_string(sp_slots_dtype_names[info->dtype]));
    }
    json_object_set_new(result, "split", json_string(e->split));
    SP_TRY(sp_figures_report(result, &n, e->items.figures, e->n_segments, 0, SIZE_MAX));
    json_object_set_new(result, "token_accuracy", json_real(n_correct / n_targets));
    json_t *lengths = json_array();
    json_object_set_new(result, "by_length", lengths);
    SP_TRY(add_samples(e, result));
    return report_lengths(e, lengths);
}

/* ---- the whole ---- */

static sp_status evaluate(evaluation *e, json_t *result) {
    SP_TRY(sp_agree(e->world, open_evaluation(e)));
    SP_TRY(resume(e));
    sp_progress_begin(&e->progress, "evaluate", e->n_segments, "segments");
    sp_status status = evaluate_share(e);
    sp_progress_end(&e->progress);
    SP_TRY(sp_agree(e->world, status));
    SP_TRY(sp_items_gather(&e->items));
    return sp_agree(e->world, sp_world_rank(e->world) == 0 ? report(e, result) : SP_OK);
}

static sp_status evaluate_compressor(sp_world *world, json_t *result,
                                     const sp_reconstruction_job *job,
                                     const sp_compressor_choice *compressor) {
    evaluation e = {.world = world, .job = job, .compressor = compressor};
    const sp_status status = evaluate(&e, result);
    free(e.nll);
    free(e.ids);
    free(e.memory);
    free(e.slots);
    free(e.all);
    sp_items_end(&e.items);
    sp_workspace_release(&e.workspace);
    sp_batch_free(&e.batch);
    sp_batch_free(&e.prompts);
    sp_tokenizer_destroy(e.tokenizer);
    json_decref(e.tokenizer_json);
    sp_samples_close(&e.samples);
    sp_tokens_close(e.tokens);
    sp_stored_slots_close(&e.stored);
    sp_trained_close(&e.trained);
    return status;
}

/* The first ratio's members, then all ratios. */
static json_t *join(json_t *by_ratio, double seconds) {
    json_t *joined = json_pack("{s:s}", "task", "reconstruction");
    json_object_update(joined, json_array_get(by_ratio, 0));
    json_object_set(joined, "by_ratio", by_ratio);
    json_object_set_new(joined, "seconds", json_real(seconds));
    return joined;
}

sp_status sp_evaluate_reconstruction(sp_world *world, json_t **result,
                                     const sp_reconstruction_job *job) {
    const double begin_s = sp_clock_seconds();
    json_t *by_ratio = json_array();
    sp_compressor_choices compressors = {0};
    sp_status status = sp_agree(world, sp_compressor_choices_make(&compressors, &job->compressors));
    for (size_t c = 0; status == SP_OK && c < compressors.n; c++) {
        json_t *made = json_object();
        status = evaluate_compressor(world, made, job, &compressors.items[c]);
        json_array_append_new(by_ratio, made);
    }
    if (status == SP_OK && sp_world_rank(world) == 0)
        *result = join(by_ratio, sp_clock_seconds() - begin_s);
    sp_compressor_choices_free(&compressors);
    json_decref(by_ratio);
    return status;
}
