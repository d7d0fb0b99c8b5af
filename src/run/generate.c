#include "run/generate.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/atomic_file.h"
#include "run/decoding.h"
#include "run/prompts.h"
#include "text/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Requests that share their memory, and segments of one request, that are added together: bounds what
   waits. */
enum { ADDED_TOGETHER = 16 };

/* A request and what comes back of it: one piece, or one for each segment. */
typedef struct answer {
    struct answer *next;
    sp_request request;
    sp_generate_task task;
    sp_continuation *pieces; /* [n_pieces], owned, and so are their ids, NULL until they are back */
    size_t n_pieces, piece_capacity, n_back;
    bool is_asked; /* all its pieces were added */
} answer;

/* Which piece a sequence of the decoding is; a prefix has no answer. */
typedef struct piece {
    answer *of;
    size_t index;
} piece;

typedef struct generation {
    const sp_generate_job *job;
    sp_trained trained;
    json_t *tokenizer_json;
    sp_tokenizer *tokenizer;
    sp_converted_slots memory;
    sp_context_slots context;
    sp_prompts prompts;
    int32_t *stop_ids; /* of a chat: the model's, and the end of the turn; owned */
    sp_decoding_limits limits;
    sp_decoding *decoding;
    sp_requests *requests; /* NULL: there is one */
    answer *read;          /* that is read and not yet asked, owned, or NULL */
    bool is_end, has_contexts;
    size_t n_requests;
    answer *first, **last; /* asked, in order, until they are written */
    answer *reconstructed; /* the last of them, whose segments are still being added; or NULL */
    sp_prompts_cursor cursor;
    piece *pieces; /* of every sequence added */
    size_t n_pieces, piece_capacity;
    sp_status (*finish)(struct generation *g, answer *a);
    /* One request's. */
    json_t **result;
    char **text;
    size_t *n_bytes;
    /* Many requests'. */
    sp_atomic_file output;
    sp_progress progress;
    sp_generate_summary *summary;
} generation;

static void free_answer(answer *a) {
    if (a == NULL) return;
    for (size_t i = 0; i < a->n_pieces; i++) free(a->pieces[i].ids);
    free(a->pieces);
    sp_request_free(&a->request);
    free(a);
}

/* ---- requests ---- */

/* The failure of a request: of a file's, where it stands, and as bad data what would be wrong use. */
static sp_status fail_at(const generation *g, const sp_request *request, sp_status status) {
    if (status == SP_OK || request->line_number == 0) return status;
    return sp_fail(status == SP_USAGE ? SP_BAD_DATA : status, "'%s', line %zu: %s",
                   sp_requests_path(g->requests), request->line_number, sp_message());
}

static sp_status choose_task(const sp_generate_job *job, const sp_request *request,
                             sp_generate_task *task) {
    const bool has_prompt = request->prompt != NULL;
    *task = job->task;
    if (*task == SP_TASK_BY_PROMPT && job->is_chat) *task = SP_TASK_ANSWER;
    if (*task == SP_TASK_BY_PROMPT) *task = has_prompt ? SP_TASK_COMPLETE : SP_TASK_RECONSTRUCT;
    if (*task == SP_TASK_ANSWER && !has_prompt)
        return sp_fail(SP_USAGE, "there is no prompt to answer");
    if (*task == SP_TASK_RECONSTRUCT && has_prompt)
        return sp_fail(SP_USAGE, "a reconstruction has no prompt");
    if (*task == SP_TASK_RECONSTRUCT && job->reads_text)
        return sp_fail(SP_USAGE, "a reconstruction reads slots, not the full text: a prompt, or "
                                 "--task complete");
    if (request->n_documents > 0 && job->memory == NULL)
        return sp_fail(SP_USAGE, "a document is named, but no slot file (--memory FILE)");
    return SP_OK;
}

static sp_status only_request(const generation *g, sp_request *request) {
    void *documents = NULL;
    const size_t n = g->job->n_documents;
    SP_TRY(sp_alloc_array(&documents, n, sizeof(char *), "a request"));
    if (n > 0) memcpy(documents, g->job->documents, n * sizeof(char *));
    *request = (sp_request){.documents = documents, .n_documents = n, .prompt = g->job->prompt};
    return SP_OK;
}

/* Reads the next request into g->read; NULL after the last. */
static sp_status read_next(generation *g) {
    g->read = NULL;
    if (g->is_end) return SP_OK;
    answer *a = calloc(1, sizeof *a);
    if (a == NULL) return sp_fail(SP_FAILURE, "no memory for a request");
    sp_status status = SP_OK;
    if (g->requests != NULL)
        status = sp_requests_next(g->requests, &a->request, &g->is_end);
    else
        status = only_request(g, &a->request);
    g->is_end = g->is_end || g->requests == NULL;
    const bool is_there = status == SP_OK && (g->requests == NULL || !g->is_end);
    if (is_there) status = fail_at(g, &a->request, choose_task(g->job, &a->request, &a->task));
    if (is_there && status == SP_OK)
        g->read = a;
    else
        free_answer(a);
    return status;
}

static sp_status start_over(generation *g) {
    g->is_end = false;
    return g->requests != NULL ? sp_requests_rewind(g->requests) : SP_OK;
}

static sp_status look_through(generation *g) {
    for (;;) {
        SP_TRY(read_next(g));
        if (g->read == NULL) return start_over(g);
        g->has_contexts = g->has_contexts || g->read->request.context != NULL;
        g->n_requests++;
        free_answer(g->read);
        g->read = NULL;
    }
}

static sp_status find_documents(generation *g) {
    for (;;) {
        SP_TRY(read_next(g));
        if (g->read == NULL) return start_over(g);
        const sp_status status = sp_prompts_check(&g->prompts, &g->read->request);
        SP_TRY(fail_at(g, &g->read->request, status));
        free_answer(g->read);
        g->read = NULL;
    }
}

/* ---- opening ---- */

static sp_status find_template(generation *g) {
    const char *decoder = g->trained.config.decoder.model;
    char *published = NULL;
    g->prompts.chat = g->job->chat;
    if (g->prompts.chat != NULL) return SP_OK;
    SP_TRY(sp_chat_template_load(&published, decoder));
    g->prompts.chat = sp_chat_template_recognise(
        g->tokenizer, g->trained.models.decoder_weights->config.family->name, published);
    free(published);
    if (g->prompts.chat != NULL) return SP_OK;
    return sp_fail(SP_USAGE, "'%s': its chat template is not recognised; --chat=NAME chooses one",
                   decoder);
}

/* A chat ends with the turn, too. */
static sp_status open_chat(generation *g) {
    sp_decoding_limits *limits = &g->limits;
    void *stop_ids = NULL;
    sp_chat_turn turn = {0};
    SP_TRY(find_template(g));
    SP_TRY(sp_alloc_array(&stop_ids, limits->n_stop_ids + 1, sizeof *g->stop_ids, "stop ids"));
    g->stop_ids = stop_ids;
    for (size_t i = 0; i < limits->n_stop_ids; i++) g->stop_ids[i] = limits->stop_ids[i];
    SP_TRY(sp_chat_turn_encode(&turn, g->prompts.chat, g->tokenizer, ""));
    g->stop_ids[limits->n_stop_ids++] = turn.end_of_turn;
    limits->stop_ids = g->stop_ids;
    sp_chat_turn_free(&turn);
    return SP_OK;
}

/* Ratios are whole numbers. */
static sp_status check_memory_ratio(const generation *g) {
    const double made = sp_slots_get_info(g->memory.file)->ratio;
    if (g->job->ratio == 0 || (size_t)made == g->job->ratio) return SP_OK;
    return sp_fail(SP_USAGE, "--ratio %zu: '%s' was compressed at ratio %g", g->job->ratio,
                   g->job->memory, made);
}

static sp_status open_models(generation *g) {
    const sp_generate_job *job = g->job;
    const bool has_compressed_contexts = g->has_contexts && !job->reads_text;
    SP_TRY(sp_trained_open(&g->trained, job->checkpoint, job->assignments, job->n_assignments,
                           has_compressed_contexts ? SP_SIDES_BOTH : SP_SIDES_DECODER));
    SP_TRY(sp_trained_use_ratio(&g->trained, job->ratio));
    const char *decoder = g->trained.config.decoder.model;
    SP_TRY(sp_tokenizer_json_load(&g->tokenizer_json, decoder));
    SP_TRY(sp_tokenizer_create(&g->tokenizer, g->tokenizer_json, decoder));
    g->prompts = (sp_prompts){
        .trained = &g->trained, .tokenizer = g->tokenizer, .reads_text = job->reads_text};
    if (job->memory != NULL) {
        SP_TRY(sp_converted_slots_open(&g->memory, job->memory, &g->trained));
        SP_TRY(check_memory_ratio(g));
        g->prompts.memory = &g->memory;
        if (job->reads_text && !sp_slots_get_info(g->memory.file)->has_text)
            return sp_fail(SP_BAD_DATA,
                           "'%s' has no text to read: `slotpress compress --with-text` keeps it",
                           job->memory);
    }
    if (has_compressed_contexts) {
        SP_TRY(sp_context_slots_init(&g->context, &g->trained));
        g->prompts.context = &g->context;
    }
    g->limits = sp_models_decoding_limits(&g->trained.models, job->max_new_tokens);
    if (job->is_chat) SP_TRY(open_chat(g));
    return sp_decoding_create(&g->decoding, g->trained.models.compressor->decoder,
                              job->most_at_once);
}

/* ---- asking ---- */

static sp_status grow(void *array, size_t n, size_t *capacity, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    void **place = array;
    void *grown = realloc(*place, 2 * n * item_bytes);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu pieces", 2 * n);
    *place = grown;
    *capacity = 2 * n;
    return SP_OK;
}

/* The next sequence of the decoding is the next piece of an answer, or of none. */
static sp_status expect_piece(generation *g, answer *of) {
    SP_TRY(grow(&g->pieces, g->n_pieces + 1, &g->piece_capacity, sizeof *g->pieces));
    g->pieces[g->n_pieces++] = (piece){of, of != NULL ? of->n_pieces : 0};
    if (of == NULL) return SP_OK;
    SP_TRY(grow(&of->pieces, of->n_pieces + 1, &of->piece_capacity, sizeof *of->pieces));
    of->pieces[of->n_pieces++] = (sp_continuation){0};
    return SP_OK;
}

/* Moves the request that is read behind those that are asked, and reads another. */
static sp_status take_read(generation *g, answer **taken) {
    *taken = g->read;
    *g->last = g->read;
    g->last = &g->read->next;
    return read_next(g);
}

static sp_status add_to_decoding(generation *g) {
    return sp_decoding_add(g->decoding, &g->prompts.batch.rows[SP_DECODER], g->prompts.slots,
                           &g->limits);
}

static sp_status add_segments(generation *g) {
    answer *a = g->reconstructed;
    const size_t n_before = g->n_pieces;
    sp_prompts_clear(&g->prompts);
    SP_TRY(fail_at(g, &a->request,
                   sp_prompts_add_reconstructions(&g->prompts, &a->request, ADDED_TOGETHER,
                                                  &g->cursor, &a->is_asked)));
    const size_t n = g->prompts.batch.rows[SP_DECODER].n_seqs;
    while (g->n_pieces < n_before + n) SP_TRY(expect_piece(g, a));
    if (a->is_asked) g->reconstructed = NULL;
    return fail_at(g, &a->request, add_to_decoding(g));
}

/* Requests that follow each other and share their memory are read as a prefix and its children. */
static sp_status add_prompts(generation *g) {
    answer *answers[ADDED_TOGETHER];
    const sp_request *requests[ADDED_TOGETHER];
    size_t n = 0;
    do {
        SP_TRY(take_read(g, &answers[n]));
        requests[n] = &answers[n]->request;
        n++;
    } while (n < ADDED_TOGETHER && g->read != NULL && g->read->task == answers[0]->task &&
             sp_requests_share_memory(requests[0], &g->read->request));
    sp_prompts_clear(&g->prompts);
    SP_TRY(fail_at(g, requests[0], sp_prompts_add(&g->prompts, requests, n)));
    if (n > 1) SP_TRY(expect_piece(g, NULL));
    for (size_t i = 0; i < n; i++) {
        SP_TRY(expect_piece(g, answers[i]));
        answers[i]->is_asked = true;
    }
    return fail_at(g, requests[0], add_to_decoding(g));
}

static sp_status add_more(generation *g) {
    if (g->reconstructed != NULL) return add_segments(g);
    if (g->read->task != SP_TASK_RECONSTRUCT) return add_prompts(g);
    g->cursor = (sp_prompts_cursor){0};
    return take_read(g, &g->reconstructed);
}

/* ---- answers ---- */

/* Whether what is generated goes on from another text: no answer in a chat does, and a document's
   reconstruction does not where the decoder has learnt from the stream of whole documents, the one
   that the encoder cuts. */
static bool is_continuation(const generation *g, const answer *a) {
    const sp_run_config *config = &g->trained.config;
    if (g->job->is_chat) return false;
    return a->task != SP_TASK_RECONSTRUCT ||
           strcmp(config->data.encoder_stream, config->data.decoder_stream) != 0;
}

/* Joins the pieces: ids [*n], owned. */
static sp_status join(const answer *a, int32_t **ids, size_t *n) {
    void *block = NULL;
    *n = 0;
    for (size_t i = 0; i < a->n_pieces; i++) *n += a->pieces[i].n;
    SP_TRY(sp_alloc_array(&block, *n, sizeof **ids, "an answer"));
    int32_t *to = *ids = block;
    for (size_t i = 0; i < a->n_pieces; to += a->pieces[i++].n)
        memcpy(to, a->pieces[i].ids, a->pieces[i].n * sizeof *to);
    return SP_OK;
}

static sp_status decode_text(const generation *g, const answer *a, const int32_t *ids, size_t n,
                             char **text, size_t *n_bytes) {
    return sp_tokenizer_decode(
        g->tokenizer, text, n_bytes, ids, n,
        (sp_decode_options){.skips_special = true, .is_continuation = is_continuation(g, a)});
}

static json_t *name_documents(const sp_generate_job *job) {
    if (job->n_documents == 1) return json_string(job->documents[0]);
    json_t *list = json_array();
    for (size_t i = 0; i < job->n_documents; i++)
        json_array_append_new(list, json_string(job->documents[i]));
    return list;
}

static sp_status finish_only(generation *g, answer *a) {
    int32_t *ids = NULL;
    size_t n = 0;
    json_t *list = json_array();
    sp_status status = join(a, &ids, &n);
    if (status == SP_OK) status = decode_text(g, a, ids, n, g->text, g->n_bytes);
    for (size_t i = 0; status == SP_OK && i < n; i++)
        json_array_append_new(list, json_integer(ids[i]));
    free(ids);
    if (status != SP_OK) {
        json_decref(list);
        return status;
    }
    *g->result = json_pack("{s:o, s:o, s:o}", g->job->n_documents == 1 ? "document" : "documents",
                           name_documents(g->job), "text",
                           sp_json_from_bytes(*g->text, *g->n_bytes), "ids", list);
    return *g->result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

static sp_status write_line(generation *g, const answer *a, const char *text, size_t n_bytes,
                            size_t n_ids) {
    json_t *id = a->request.id != NULL ? json_deep_copy(a->request.id)
                                       : json_integer((json_int_t)a->request.line_number);
    json_t *object = json_pack("{s:o, s:o, s:I}", "id", id, "text",
                               sp_json_from_bytes(text, n_bytes), "tokens", (json_int_t)n_ids);
    char *line = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (line == NULL) return sp_fail(SP_FAILURE, "no memory for an answer");
    sp_status status = SP_OK;
    if (g->job->output == NULL)
        printf("%s\n", line);
    else
        status = sp_write_all(g->output.fd, line, strlen(line), g->job->output);
    if (status == SP_OK && g->job->output != NULL)
        status = sp_write_all(g->output.fd, "\n", 1, g->job->output);
    free(line);
    return status;
}

static sp_status finish_line(generation *g, answer *a) {
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n = 0, n_bytes = 0;
    sp_status status = join(a, &ids, &n);
    if (status == SP_OK) status = decode_text(g, a, ids, n, &text, &n_bytes);
    if (status == SP_OK) status = write_line(g, a, text, n_bytes, n);
    free(ids);
    free(text);
    g->summary->n_answers++;
    g->summary->n_tokens += n;
    sp_progress_update(&g->progress, g->summary->n_answers, NULL);
    return status;
}

static void take_back(generation *g) {
    sp_continuation c;
    while (sp_decoding_take(g->decoding, &c)) {
        const piece *p = &g->pieces[c.number];
        p->of->pieces[p->index] = c;
        p->of->n_back++;
    }
}

/* Those at the front that are complete. */
static sp_status finish_first(generation *g) {
    while (g->first != NULL && g->first->is_asked && g->first->n_back == g->first->n_pieces) {
        answer *a = g->first;
        SP_TRY(fail_at(g, &a->request, g->finish(g, a)));
        g->first = a->next;
        if (g->first == NULL) g->last = &g->first;
        free_answer(a);
    }
    return SP_OK;
}

static sp_status run(generation *g) {
    SP_TRY(read_next(g));
    while (g->read != NULL || g->reconstructed != NULL || g->first != NULL) {
        while ((g->read != NULL || g->reconstructed != NULL) &&
               sp_decoding_n_waiting(g->decoding) < g->job->most_at_once)
            SP_TRY(add_more(g));
        SP_TRY(sp_decoding_step(g->decoding));
        take_back(g);
        SP_TRY(finish_first(g));
    }
    return SP_OK;
}

static void release(generation *g) {
    for (answer *a = g->first, *next; a != NULL; a = next) {
        next = a->next;
        free_answer(a);
    }
    free_answer(g->read);
    free(g->pieces);
    free(g->stop_ids);
    sp_decoding_destroy(g->decoding);
    sp_prompts_release(&g->prompts);
    sp_context_slots_release(&g->context);
    sp_converted_slots_close(&g->memory);
    sp_tokenizer_destroy(g->tokenizer);
    json_decref(g->tokenizer_json);
    sp_trained_close(&g->trained);
    sp_requests_close(g->requests);
    sp_atomic_abort(&g->output);
}

static sp_status generate(generation *g) {
    SP_TRY(look_through(g));
    SP_TRY(open_models(g));
    SP_TRY(find_documents(g));
    return run(g);
}

sp_status sp_generate(json_t **result, char **text, size_t *n_bytes, const sp_generate_job *job) {
    generation g = {
        .job = job, .finish = finish_only, .result = result, .text = text, .n_bytes = n_bytes};
    g.last = &g.first;
    const sp_status status = generate(&g);
    release(&g);
    return status;
}

static sp_status generate_all(generation *g) {
    SP_TRY(sp_requests_open(&g->requests, g->job->input));
    SP_TRY(look_through(g));
    SP_TRY(open_models(g));
    SP_TRY(find_documents(g));
    if (g->job->output != NULL) SP_TRY(sp_atomic_begin(&g->output, g->job->output));
    const double begin_s = sp_clock_seconds();
    sp_progress_begin(&g->progress, "generate", g->n_requests, "answers");
    const sp_status status = run(g);
    sp_progress_end(&g->progress);
    g->summary->seconds = sp_clock_seconds() - begin_s;
    if (status != SP_OK || g->job->output == NULL) return status;
    return sp_atomic_commit(&g->output);
}

sp_status sp_generate_all(sp_generate_summary *summary, const sp_generate_job *job) {
    *summary = (sp_generate_summary){0};
    generation g = {.job = job, .finish = finish_line, .summary = summary};
    g.last = &g.first;
    const sp_status status = generate_all(&g);
    release(&g);
    return status;
}
