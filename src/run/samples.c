#include "run/samples.h"

#include "base/memory.h"
#include "base/permutation.h"
#include "base/rng.h"

#include <stdlib.h>

/* What the counters of Philox are for, beside the sample's place in the stream. */
enum { PURPOSE_ORDER = 1, PURPOSE_DRAW, PURPOSE_DROPOUT, PURPOSE_RATIO };

static uint64_t random_of(uint64_t seed, uint64_t index, uint32_t epoch, uint32_t purpose) {
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), epoch, purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    sp_philox(out, counter, key);
    return (uint64_t)out[1] << 32 | out[0];
}

static double fraction_of(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

/* A place in the stream: the epoch, and the segment that its permutation puts there. */
typedef struct place {
    uint32_t epoch;
    size_t segment;
} place;

static place place_of(const sp_samples *samples, uint64_t position) {
    const uint64_t n = samples->n_trained;
    const uint32_t epoch = (uint32_t)(position / n);
    const uint64_t key = random_of(samples->seed, 0, epoch, PURPOSE_ORDER);
    return (place){epoch, samples->trained[sp_permute(position % n, n, key)]};
}

/* Does a segment follow in the same document, with something to complete? */
static bool has_next(const sp_samples *samples, size_t segment) {
    return segment + 1 < sp_tokens_n_segments(samples->tokens) &&
           sp_tokens_document(samples->tokens, segment + 1) ==
               sp_tokens_document(samples->tokens, segment) &&
           sp_tokens_length(samples->tokens, samples->decoder_stream, segment + 1) > 0;
}

typedef struct branches {
    bool reconstructs, completes;
} branches;

/* Where one objective is drawn, a document's last segment, which nothing follows, reconstructs. */
static branches branches_of(const sp_samples *samples, place at) {
    const bool can_complete = samples->completes && has_next(samples, at.segment);
    if (!samples->draws_one || !samples->reconstructs || !can_complete)
        return (branches){samples->reconstructs, can_complete};
    const uint64_t bits = random_of(samples->seed, at.segment, at.epoch, PURPOSE_DRAW);
    const bool completes = fraction_of(bits) < samples->draws_completion;
    return (branches){!completes, completes};
}

/* Where they come from, for messages. */
static const char *name_of(const sp_run_config *config) {
    return sp_run_config_is_of_tasks(config) ? config->data.rows : config->data.tokens;
}

static bool is_held_out(const sp_samples *samples, const sp_run_config *config, size_t i) {
    if (samples->tasks != NULL) return samples->tasks->tasks[i].is_held_out;
    return fraction_of(sp_tokens_document_hash(samples->tokens, i)) < config->data.validation;
}

/* Of n segments, or tasks. */
static sp_status choose(sp_samples *samples, const sp_run_config *config, size_t n) {
    void *trained = NULL, *held_out = NULL;
    if (n > UINT32_MAX) return sp_fail(SP_BAD_DATA, "'%s': more than 2^32", name_of(config));
    SP_TRY(sp_alloc_array(&trained, n, sizeof *samples->trained, "segments"));
    samples->trained = trained;
    SP_TRY(sp_alloc_array(&held_out, n, sizeof *samples->held_out, "segments"));
    samples->held_out = held_out;
    for (size_t i = 0; i < n; i++) {
        if (is_held_out(samples, config, i))
            samples->held_out[samples->n_held_out++] = (uint32_t)i;
        else
            samples->trained[samples->n_trained++] = (uint32_t)i;
    }
    if (config->data.limit != SP_COUNT_AUTO && samples->n_trained > config->data.limit)
        samples->n_trained = config->data.limit;
    return SP_OK;
}

/* Segments keep to segment.tokens in the stream that cut; in another one they may be longer. */
static sp_status check_slots(const sp_samples *samples, const sp_run_config *config) {
    const size_t most = sp_run_config_most_slots(config);
    for (size_t i = 0; i < sp_tokens_n_segments(samples->tokens); i++) {
        const size_t n = sp_tokens_length(samples->tokens, samples->encoder_stream, i);
        const size_t n_slots = sp_layout_n_slots(&samples->layout, n);
        if (n_slots > most && config->encoder.memory != SP_MEMORY_OF_TOKENS)
            return sp_fail(
                SP_USAGE,
                "data.encoder_stream: segment %zu of '%s' has %zu tokens in stream '%s', "
                "more than segment.tokens %zu; let this stream cut: name it first to "
                "`slotpress tokenize`",
                i, config->data.tokens, n, config->data.encoder_stream, config->segment.tokens);
        if (n_slots > most)
            return sp_fail(SP_USAGE,
                           "encoder.memory_tokens: %zu are too few for segment %zu of '%s', whose "
                           "%zu tokens in stream '%s' make %zu slots; raise it, or let this stream "
                           "cut: name it first to `slotpress tokenize`",
                           most, i, config->data.tokens, n, config->data.encoder_stream, n_slots);
    }
    return SP_OK;
}

static sp_status open_samples(sp_samples *samples, const sp_run_config *config) {
    if (samples->tasks != NULL) return choose(samples, config, samples->tasks->n_tasks);
    SP_TRY(sp_tokens_find_stream(samples->tokens, config->data.encoder_stream,
                                 &samples->encoder_stream));
    SP_TRY(sp_tokens_find_stream(samples->tokens, config->data.decoder_stream,
                                 &samples->decoder_stream));
    if (sp_tokens_segment_tokens(samples->tokens) != config->segment.tokens)
        return sp_fail(SP_USAGE, "segment.tokens is %zu, but '%s' has segments of %zu",
                       config->segment.tokens, config->data.tokens,
                       sp_tokens_segment_tokens(samples->tokens));
    SP_TRY(check_slots(samples, config));
    return choose(samples, config, sp_tokens_n_segments(samples->tokens));
}

static sp_status open_any(sp_samples *samples, const sp_tokens *tokens, const sp_task_set *tasks,
                          const sp_run_config *config) {
    const double reconstruction = config->objective.reconstruction;
    const double completion = config->objective.completion;
    sp_samples made = {
        .tokens = tokens,
        .tasks = tasks,
        .layout = sp_run_config_layout(config, NULL),
        .ratios = config->segment.ratios,
        .global_batch = config->train.global_batch,
        .seed = config->run.seed,
        .draws_one = config->objective.draw == SP_DRAW_ONE,
        .draws_completion = completion / (reconstruction + completion),
        .reconstructs = reconstruction > 0,
        .completes = completion > 0,
    };
    const sp_status status = open_samples(&made, config);
    if (status != SP_OK)
        sp_samples_close(&made);
    else
        *samples = made;
    return status;
}

sp_status sp_samples_open(sp_samples *samples, const sp_tokens *tokens,
                          const sp_run_config *config) {
    return open_any(samples, tokens, NULL, config);
}

sp_status sp_samples_open_tasks(sp_samples *samples, const sp_task_set *tasks,
                                const sp_run_config *config) {
    return open_any(samples, NULL, tasks, config);
}

void sp_samples_close(sp_samples *samples) {
    free(samples->trained);
    free(samples->held_out);
    free(samples->filled);
    free(samples->ids);
    *samples = (sp_samples){0};
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

sp_status sp_samples_settle_steps(sp_samples *samples, size_t *n_steps,
                                  const sp_run_config *config) {
    if (samples->n_trained == 0)
        return sp_fail(SP_BAD_DATA, "'%s': no %s to train on, %zu held out", name_of(config),
                       samples->tasks != NULL ? "row" : "segment", samples->n_held_out);
    if (config->train.steps != SP_COUNT_AUTO) {
        *n_steps = config->train.steps;
        samples->n_taken = UINT64_MAX;
        return SP_OK;
    }
    const uint64_t most = (uint64_t)samples->n_trained * config->data.epochs;
    const uint64_t batch = config->train.global_batch;
    uint64_t n = most;
    if (config->data.budget_tokens != SP_COUNT_AUTO) {
        uint64_t tokens = 0;
        for (n = 0; n < most && tokens < config->data.budget_tokens; n++)
            tokens += sp_samples_count(samples, n, n + 1).tokens;
        if (tokens < config->data.budget_tokens)
            return sp_fail(SP_USAGE,
                           "data.budget_tokens is %zu, but '%s' has %ju tokens to train on in "
                           "data.epochs = %zu; lower the one or raise the other",
                           config->data.budget_tokens, name_of(config), (uintmax_t)tokens,
                           config->data.epochs);
    }
    *n_steps = (size_t)(n / batch + (n % batch != 0));
    samples->n_taken = n;
    return SP_OK;
}

sp_sample_range sp_samples_of_step(const sp_samples *samples, const sp_run_config *config,
                                   uint64_t step) {
    const uint64_t batch = config->train.global_batch;
    return (sp_sample_range){min_u64((step - 1) * batch, samples->n_taken),
                             min_u64(step * batch, samples->n_taken)};
}

size_t sp_samples_ratio_of_step(const sp_samples *samples, uint64_t step) {
    const uint64_t n = samples->ratios.n_items, round = (step - 1) / n;
    const uint64_t key = random_of(samples->seed, round, 0, PURPOSE_RATIO);
    return samples->ratios.items[sp_permute((step - 1) % n, n, key)];
}

static void count_task(sp_sample_counts *counts, const sp_task_set *tasks, size_t i) {
    const sp_task *task = &tasks->tasks[i];
    counts->tokens += sp_task_context_tokens(tasks, task->context);
    counts->targets[SP_ANSWER] += task->n_answer + (task->end != SP_NO_TOKEN ? 1 : 0);
}

sp_sample_counts sp_samples_count(const sp_samples *samples, uint64_t begin, uint64_t end) {
    sp_sample_counts counts = {0};
    const sp_tokens *tokens = samples->tokens;
    for (uint64_t position = begin; position < end; position++) {
        const place at = place_of(samples, position);
        if (samples->tasks != NULL) {
            count_task(&counts, samples->tasks, at.segment);
            continue;
        }
        const branches has = branches_of(samples, at);
        counts.tokens += sp_tokens_length(tokens, samples->encoder_stream, at.segment);
        if (has.reconstructs)
            counts.targets[SP_RECONSTRUCTION] += sp_layout_n_targets(
                &samples->layout, sp_tokens_length(tokens, samples->decoder_stream, at.segment));
        if (has.completes)
            counts.targets[SP_COMPLETION] += sp_layout_n_targets(
                &samples->layout,
                sp_tokens_length(tokens, samples->decoder_stream, at.segment + 1));
    }
    return counts;
}

uint32_t sp_samples_segment(const sp_samples *samples, uint64_t position) {
    return (uint32_t)place_of(samples, position).segment;
}

static sp_status reserve_ids(sp_samples *samples, size_t n_ids) {
    if (n_ids <= samples->ids_capacity) return SP_OK;
    int32_t *grown = realloc(samples->ids, n_ids * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu token ids", n_ids);
    samples->ids = grown;
    samples->ids_capacity = n_ids;
    return SP_OK;
}

static sp_status add_segment(sp_samples *samples, sp_batch *batch, size_t segment, branches has,
                             uint64_t key) {
    const sp_tokens *tokens = samples->tokens;
    const size_t n_encoder = sp_tokens_length(tokens, samples->encoder_stream, segment);
    const size_t n_decoder = sp_tokens_length(tokens, samples->decoder_stream, segment);
    const size_t n_next =
        has.completes ? sp_tokens_length(tokens, samples->decoder_stream, segment + 1) : 0;
    SP_TRY(reserve_ids(samples, n_encoder + n_decoder + n_next));
    int32_t *encoder = samples->ids, *decoder = encoder + n_encoder, *next = decoder + n_decoder;
    SP_TRY(sp_tokens_read(tokens, samples->encoder_stream, segment, encoder));
    SP_TRY(sp_tokens_read(tokens, samples->decoder_stream, segment, decoder));
    if (n_next > 0) SP_TRY(sp_tokens_read(tokens, samples->decoder_stream, segment + 1, next));
    return sp_layout_add_sample(&samples->layout, batch,
                                &(sp_sample){.encoder_ids = encoder,
                                             .n_encoder_ids = n_encoder,
                                             .decoder_ids = decoder,
                                             .n_decoder_ids = n_decoder,
                                             .next_ids = next,
                                             .n_next_ids = n_next,
                                             .key = key,
                                             .reconstructs = has.reconstructs,
                                             .completes = has.completes});
}

static sp_status note_filled(sp_samples *samples, size_t task) {
    if (samples->n_filled == samples->filled_capacity) {
        const size_t capacity = 2 * samples->n_filled + 16;
        uint32_t *grown = realloc(samples->filled, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for a batch of rows");
        samples->filled = grown;
        samples->filled_capacity = capacity;
    }
    samples->filled[samples->n_filled++] = (uint32_t)task;
    return SP_OK;
}

static sp_status add_task(sp_samples *samples, sp_batch *batch, size_t task, uint64_t key) {
    SP_TRY(note_filled(samples, task));
    sp_question question = sp_task_question(samples->tasks, task);
    question.key = key;
    return sp_layout_add_question(&samples->layout, batch, &question);
}

sp_status sp_samples_fill(sp_samples *samples, sp_batch *batch, uint64_t begin, uint64_t end) {
    sp_batch_clear(batch);
    samples->n_filled = 0;
    batch->is_training = true;
    for (uint64_t position = begin; position < end; position++) {
        const place at = place_of(samples, position);
        const uint64_t key = random_of(samples->seed, at.segment, at.epoch, PURPOSE_DROPOUT);
        samples->layout.ratio =
            sp_samples_ratio_of_step(samples, position / samples->global_batch + 1);
        SP_TRY(samples->tasks != NULL
                   ? add_task(samples, batch, at.segment, key)
                   : add_segment(samples, batch, at.segment, branches_of(samples, at), key));
    }
    return SP_OK;
}

sp_status sp_samples_fill_segments(sp_samples *samples, sp_batch *batch, const uint32_t *segments,
                                   size_t n) {
    sp_batch_clear(batch);
    samples->n_filled = 0;
    batch->is_training = false;
    for (size_t i = 0; i < n; i++) {
        if (samples->tasks != NULL) {
            SP_TRY(add_task(samples, batch, segments[i], 0));
            continue;
        }
        const branches has = {samples->reconstructs,
                              samples->completes && has_next(samples, segments[i])};
        SP_TRY(add_segment(samples, batch, segments[i], has, 0));
    }
    return SP_OK;
}
