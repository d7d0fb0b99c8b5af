#include "run/task_set.h"

#include "base/log.h"
#include "io/model_source.h"
#include "io/task_file.h"
#include "text/chat_turns.h"
#include "text/segmenter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MOST_NOTES = 10 }; /* bad rows that are named one by one */

typedef struct side {
    sp_model_config model;
    sp_tokenizer *tokenizer;
} side;

/* Where a context's text has been seen: open addressing by its hash. */
typedef struct seen {
    XXH128_hash_t hash;
    size_t context_plus_1; /* 0: empty */
} seen;

typedef struct reading {
    const sp_run_config *config;
    sp_task_set *set;
    side encoder, decoder;
    const sp_chat_template *chat;
    bool has_chat; /* it was looked for */
    sp_layout layout;
    sp_encoding encoding;
    sp_chat_turns turns;
    sp_chat_message *messages;
    seen *table;
    size_t table_size; /* a power of two */
} reading;

/* ---- growing ---- */

enum { IDS, SEGMENTS, CONTEXTS, TASKS };

/* Makes room for n_more items behind n. */
static sp_status grow(sp_task_set *set, int which, void **array, size_t n, size_t n_more,
                      size_t item_bytes) {
    if (n + n_more <= set->capacities[which]) return SP_OK;
    const size_t capacity = 2 * (n + n_more);
    void *grown = realloc(*array, capacity * item_bytes);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for rows: %zu items", capacity);
    *array = grown;
    set->capacities[which] = capacity;
    return SP_OK;
}

static sp_status add_ids(sp_task_set *set, const int32_t *ids, size_t n, size_t vocab_size,
                         const char *what) {
    void *array = set->ids;
    SP_TRY(grow(set, IDS, &array, set->n_ids, n, sizeof *ids));
    set->ids = array;
    for (size_t i = 0; i < n; i++) {
        if ((size_t)ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "token id %d of the %s is beyond the model's %zu", ids[i],
                           what, vocab_size);
        set->ids[set->n_ids++] = ids[i];
    }
    return SP_OK;
}

/* ---- contexts ---- */

/* The place of a hash in the table, or the empty one where it belongs. */
static seen *place_of(const reading *r, XXH128_hash_t hash) {
    size_t at = (size_t)hash.low64 & (r->table_size - 1);
    while (r->table[at].context_plus_1 != 0 && !XXH128_isEqual(r->table[at].hash, hash))
        at = (at + 1) & (r->table_size - 1);
    return &r->table[at];
}

static sp_status grow_table(reading *r) {
    if (r->table_size > 2 * r->set->n_contexts) return SP_OK;
    const size_t old_size = r->table_size;
    seen *old = r->table, *larger = calloc(old_size > 0 ? 2 * old_size : 1024, sizeof *larger);
    if (larger == NULL) return sp_fail(SP_FAILURE, "no memory for contexts");
    r->table = larger;
    r->table_size = old_size > 0 ? 2 * old_size : 1024;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].context_plus_1 != 0) *place_of(r, old[i].hash) = old[i];
    free(old);
    return SP_OK;
}

static sp_status cut_context(reading *r, const char *text, size_t n_bytes) {
    sp_task_set *set = r->set;
    const sp_encoding *encoding = &r->encoding;
    SP_TRY(sp_tokenizer_encode(r->encoder.tokenizer, &r->encoding, text, n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    if (encoding->n == 0) return sp_fail(SP_BAD_DATA, "field 'context' has no token");
    for (size_t begin = 0; begin < encoding->n;) {
        void *array = set->segment_lens;
        SP_TRY(grow(set, SEGMENTS, &array, set->n_segments, 1, sizeof *set->segment_lens));
        set->segment_lens = array;
        const size_t end = sp_segment_end(encoding, text, n_bytes, begin, r->layout.segment_tokens);
        set->segment_lens[set->n_segments++] = (uint32_t)(end - begin); /* at most segment.tokens */
        begin = end;
    }
    return add_ids(set, encoding->ids, encoding->n, r->encoder.model.vocab_size, "context");
}

static sp_status add_context(reading *r, size_t *context, const char *text) {
    sp_task_set *set = r->set;
    const size_t n_bytes = strlen(text);
    const XXH128_hash_t hash = XXH3_128bits(text, n_bytes);
    void *array = set->contexts;
    SP_TRY(grow_table(r));
    seen *place = place_of(r, hash);
    *context = place->context_plus_1 - 1;
    if (place->context_plus_1 != 0) return SP_OK;
    SP_TRY(grow(set, CONTEXTS, &array, set->n_contexts, 1, sizeof *set->contexts));
    set->contexts = array;
    const size_t id_begin = set->n_ids, segment_begin = set->n_segments;
    const sp_status status = cut_context(r, text, n_bytes);
    if (status != SP_OK) {
        set->n_ids = id_begin;
        set->n_segments = segment_begin;
        return status;
    }
    *context = set->n_contexts;
    set->contexts[set->n_contexts++] =
        (sp_task_context){.id_begin = id_begin,
                          .segment_begin = segment_begin,
                          .n_segments = set->n_segments - segment_begin,
                          .hash = hash.high64};
    *place = (seen){hash, set->n_contexts};
    return SP_OK;
}

/* ---- what is asked ---- */

static sp_status add_decoder_ids(reading *r, uint32_t *n, const int32_t *ids, size_t n_ids,
                                 const char *what) {
    if (n_ids > UINT32_MAX) return sp_fail(SP_BAD_DATA, "%zu tokens are too many", n_ids);
    *n = (uint32_t)n_ids;
    return add_ids(r->set, ids, n_ids, r->decoder.model.vocab_size, what);
}

/* Both go on from other text: the slots', the prompt's. */
static sp_status add_plain(reading *r, sp_task *task, const sp_task_row *row) {
    const sp_encode_options plain = {.specials_are_plain = true, .is_continuation = true};
    task->end = r->decoder.model.eos_token_id;
    SP_TRY(sp_tokenizer_encode(r->decoder.tokenizer, &r->encoding, row->prompt, strlen(row->prompt),
                               plain));
    SP_TRY(add_decoder_ids(r, &task->n_prompt, r->encoding.ids, r->encoding.n, "prompt"));
    SP_TRY(sp_tokenizer_encode(r->decoder.tokenizer, &r->encoding, row->answer, strlen(row->answer),
                               plain));
    return add_decoder_ids(r, &task->n_answer, r->encoding.ids, r->encoding.n, "answer");
}

/* The decoder's, or the one that data.chat names; none for a plain transcript. */
static sp_status find_chat(reading *r) {
    const char *name = r->config->data.chat, *decoder = r->config->decoder.model;
    char *published = NULL;
    r->has_chat = true;
    if (strcmp(name, "none") == 0) return SP_OK;
    for (size_t i = 0; i < SP_N_CHAT_TEMPLATES; i++)
        if (strcmp(name, sp_chat_templates[i].name) == 0) r->chat = &sp_chat_templates[i];
    if (r->chat != NULL) return SP_OK;
    if (strcmp(name, "auto") != 0)
        return sp_fail(SP_USAGE,
                       "data.chat: there is no template '%s'; use auto, none or one of "
                       "llama3, llama3.1, mistral-v1, mistral-v3, phi3, qwen2.5",
                       name);
    SP_TRY(sp_chat_template_load(&published, decoder));
    r->chat =
        sp_chat_template_recognise(r->decoder.tokenizer, r->decoder.model.family->name, published);
    free(published);
    if (r->chat != NULL) return SP_OK;
    return sp_fail(
        SP_USAGE,
        "data.chat: the chat template of '%s' is not recognised; name one, or 'none' for "
        "plain transcripts",
        decoder);
}

static sp_chat_message message_of(const sp_task_message *message) {
    static const char *const roles[] = {
        [SP_ROLE_SYSTEM] = "system", [SP_ROLE_USER] = "user", [SP_ROLE_ASSISTANT] = "assistant"};
    return (sp_chat_message){message->name != NULL ? message->name : roles[message->role],
                             message->content};
}

static sp_status add_chat(reading *r, sp_task *task, const sp_task_row *row) {
    if (!r->has_chat) SP_TRY(find_chat(r));
    const size_t first = row->messages[0].role == SP_ROLE_SYSTEM;
    sp_chat_message *grown = realloc(r->messages, row->n_messages * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for messages");
    r->messages = grown;
    for (size_t i = 0; i < row->n_messages; i++) grown[i] = message_of(&row->messages[i]);
    SP_TRY(sp_chat_turns_encode(&r->turns, r->chat, r->decoder.tokenizer, first == 1 ? grown : NULL,
                                grown + first, row->n_messages - first));
    task->omits_bos = r->chat != NULL && !r->chat->has_bos;
    task->end = r->chat != NULL ? r->turns.end : r->decoder.model.eos_token_id;
    SP_TRY(add_decoder_ids(r, &task->n_before, r->turns.before.ids, r->turns.before.n, "template"));
    SP_TRY(add_decoder_ids(r, &task->n_prompt, r->turns.prompt.ids, r->turns.prompt.n, "prompt"));
    return add_decoder_ids(r, &task->n_answer, r->turns.answer.ids, r->turns.answer.n, "answer");
}

/* Only learned positions come to an end. */
static sp_status check_length(const reading *r, const sp_task *task) {
    const sp_task_context *context = &r->set->contexts[task->context];
    if (task->n_answer == 0) return sp_fail(SP_BAD_DATA, "the answer has no token");
    if (!r->decoder.model.family->has_learned_positions) return SP_OK;
    size_t n = (size_t)task->n_before + task->n_prompt + task->n_answer + 1;
    for (size_t i = 0; i < context->n_segments; i++)
        n += 2 + sp_layout_n_slots(&r->layout, r->set->segment_lens[context->segment_begin + i]);
    if (n <= r->decoder.model.max_positions) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "%zu rows of slots, prompt and answer are more than the decoder's "
                   "%zu positions",
                   n, r->decoder.model.max_positions);
}

/* ---- rows ---- */

static sp_status fill_task(reading *r, sp_task *task, const sp_task_row *row) {
    SP_TRY(add_context(r, &task->context, row->context));
    task->id_begin = r->set->n_ids;
    SP_TRY(row->messages != NULL ? add_chat(r, task, row) : add_plain(r, task, row));
    return check_length(r, task);
}

static sp_status add_row(reading *r, const sp_task_row *row, const char *path, bool is_held_out) {
    sp_task_set *set = r->set;
    sp_task task = {.line = row->line, .is_held_out = is_held_out};
    void *array = set->tasks;
    SP_TRY(grow(set, TASKS, &array, set->n_tasks, 1, sizeof *set->tasks));
    set->tasks = array;
    const size_t n_ids = set->n_ids, n_contexts = set->n_contexts;
    const sp_status status = fill_task(r, &task, row);
    if (status == SP_OK) {
        set->tasks[set->n_tasks++] = task;
        return SP_OK;
    }
    /* A context that has come with the row stays: it is in the table. */
    set->n_ids = n_contexts < set->n_contexts ? task.id_begin : n_ids;
    if (status != SP_BAD_DATA) return status;
    return sp_fail(status, "'%s', line %ju: %s", path, (uintmax_t)row->line, sp_message());
}

static void note_bad_row(sp_task_set *set) {
    if (set->n_skipped < MOST_NOTES) sp_log(SP_LOG_WARNING, "left out: %s", sp_message());
    if (set->n_skipped == MOST_NOTES) sp_log(SP_LOG_WARNING, "left out: more rows, not named here");
    set->n_skipped++;
}

static sp_status read_file(reading *r, const char *path, bool is_held_out, sp_on_error on_error) {
    sp_task_file *file = NULL;
    SP_TRY(sp_task_file_open(&file, path));
    bool end = false;
    sp_status status = SP_OK;
    while (status == SP_OK && !end) {
        sp_task_row row = {0};
        status = sp_task_file_next(file, &row, &end);
        if (status == SP_OK && !end) status = add_row(r, &row, path, is_held_out);
        if (status != SP_BAD_DATA || on_error == SP_ON_ERROR_STOP) continue;
        note_bad_row(r->set);
        status = SP_OK;
    }
    sp_task_file_close(file);
    return status;
}

static double fraction_of(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

/* Without a file of their own, held-out rows are those of a share of the contexts. */
static void hold_out(sp_task_set *set, double share) {
    for (size_t i = 0; i < set->n_tasks; i++)
        set->tasks[i].is_held_out = fraction_of(set->contexts[set->tasks[i].context].hash) < share;
}

static sp_status make_digest(sp_task_set *set) {
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return sp_fail(SP_FAILURE, "no memory for a digest");
    XXH3_128bits_reset(state);
    for (size_t i = 0; i < set->n_tasks; i++) {
        const sp_task *task = &set->tasks[i];
        const sp_task_context *context = &set->contexts[task->context];
        const uint64_t numbers[] = {task->n_before,      task->n_prompt,  task->n_answer,
                                    (uint64_t)task->end, task->omits_bos, task->is_held_out,
                                    context->n_segments};
        XXH3_128bits_update(state, numbers, sizeof numbers);
        XXH3_128bits_update(state, set->segment_lens + context->segment_begin,
                            context->n_segments * sizeof *set->segment_lens);
        XXH3_128bits_update(state, set->ids + context->id_begin,
                            sp_task_context_tokens(set, task->context) * sizeof *set->ids);
        XXH3_128bits_update(state, set->ids + task->id_begin,
                            ((size_t)task->n_before + task->n_prompt + task->n_answer) *
                                sizeof *set->ids);
    }
    const XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(set->digest, sizeof set->digest, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return SP_OK;
}

/* ---- opening ---- */

static sp_status open_side(side *opened, const char *path) {
    json_t *config = NULL, *tokenizer = NULL;
    SP_TRY(sp_model_config_json_load(&config, path));
    if (config == NULL) return sp_fail(SP_BAD_DATA, "'%s': no config.json there", path);
    sp_status status = sp_model_config_read(&opened->model, config, path);
    json_decref(config);
    if (status == SP_OK) status = sp_tokenizer_json_load(&tokenizer, path);
    if (status == SP_OK) status = sp_tokenizer_create(&opened->tokenizer, tokenizer, path);
    json_decref(tokenizer);
    return status;
}

static sp_status read_all(reading *r, sp_on_error on_error) {
    const sp_run_config *config = r->config;
    const char *held_out = config->data.validation_rows;
    SP_TRY(open_side(&r->encoder, config->encoder.model));
    SP_TRY(open_side(&r->decoder, config->decoder.model));
    SP_TRY(read_file(r, config->data.rows, false, on_error));
    if (held_out != NULL)
        SP_TRY(read_file(r, held_out, true, on_error));
    else
        hold_out(r->set, config->data.validation);
    SP_TRY(make_digest(r->set));
    for (size_t i = 0; i < r->set->n_tasks; i++)
        if (!r->set->tasks[i].is_held_out) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': no row to train on, %zu held out, %zu left out",
                   config->data.rows, r->set->n_tasks, r->set->n_skipped);
}

sp_status sp_task_set_read(sp_task_set *set, const sp_run_config *config, sp_on_error on_error) {
    reading r = {.config = config, .set = set, .layout = sp_run_config_layout(config, NULL)};
    const sp_status status = read_all(&r, on_error);
    free(r.table);
    free(r.messages);
    sp_chat_turns_free(&r.turns);
    sp_encoding_free(&r.encoding);
    sp_tokenizer_destroy(r.decoder.tokenizer);
    sp_tokenizer_destroy(r.encoder.tokenizer);
    if (status != SP_OK) sp_task_set_free(set);
    return status;
}

void sp_task_set_free(sp_task_set *set) {
    free(set->tasks);
    free(set->contexts);
    free(set->segment_lens);
    free(set->ids);
    *set = (sp_task_set){0};
}

sp_question sp_task_question(const sp_task_set *set, size_t task) {
    const sp_task *t = &set->tasks[task];
    const sp_task_context *context = &set->contexts[t->context];
    const int32_t *ids = set->ids + t->id_begin;
    return (sp_question){.encoder_ids = set->ids + context->id_begin,
                         .segment_lens = set->segment_lens + context->segment_begin,
                         .n_segments = context->n_segments,
                         .before = ids,
                         .n_before = t->n_before,
                         .prompt = ids + t->n_before,
                         .n_prompt = t->n_prompt,
                         .answer = ids + t->n_before + t->n_prompt,
                         .n_answer = t->n_answer,
                         .end = t->end,
                         .omits_bos = t->omits_bos};
}

size_t sp_task_context_tokens(const sp_task_set *set, size_t context) {
    const sp_task_context *c = &set->contexts[context];
    size_t n = 0;
    for (size_t i = 0; i < c->n_segments; i++) n += set->segment_lens[c->segment_begin + i];
    return n;
}
