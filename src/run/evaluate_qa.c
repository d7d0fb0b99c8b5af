#include "run/evaluate_qa.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "mpi/agree.h"
#include "run/evaluate_contexts.h"
#include "run/evaluate_questions.h"
#include "text/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bound the memory of a group of questions (evaluate_methods.h), which takes whole contexts if they
   have no more questions than so many. */
enum { MOST_QUESTIONS = 512, TOKENS_AT_ONCE = 16384 };

/* What the paper asks: contexts of more tokens than these. */
enum { LEAST_TOKENS = 257, LEAST_NQ_TOKENS = 513, MOST_NQ_TOKENS = 8000 };

typedef struct item {
    char *id, *question, *prompt; /* owned */
    char **answers;               /* [n_answers], owned */
    sp_answer_text *answer_texts; /* [n_answers], of these; owned */
    size_t n_answers, context;
} item;

typedef struct kept_context {
    char *text; /* owned */
    size_t n_bytes, n_tokens, number;
} kept_context;

/* Figures of a question by one method. */
typedef enum figure { F1, EXACT, ROWS, N_FIGURES } figure;

typedef struct qa {
    const sp_qa_job *job;
    sp_methods methods;
    sp_question_reader *questions;
    item *items;
    size_t n_items, item_capacity;
    kept_context *contexts;
    size_t n_contexts, context_capacity;
    size_t n_passed_over, min_context, max_context;
    sp_answer_rule rule;
    const char *form; /* of the file */
} qa;

/* ---- questions ---- */

static sp_status grow(void *array, size_t n, size_t *capacity, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    void **place = array;
    void *grown = realloc(*place, 2 * n * item_bytes);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu questions", 2 * n);
    *place = grown;
    *capacity = 2 * n;
    return SP_OK;
}

static sp_status copy(char **out, sp_answer_text text) {
    void *made = NULL;
    SP_TRY(sp_alloc(&made, text.n_bytes + 1, "a question"));
    if (text.n_bytes > 0) memcpy(made, text.text, text.n_bytes);
    *out = made;
    return SP_OK;
}

static sp_status make_prompt(item *made, sp_answer_text question) {
    static const char before[] = "Question: ", after[] = "\n\nAnswer: ";
    void *prompt = NULL;
    SP_TRY(sp_alloc(&prompt, sizeof before + question.n_bytes + sizeof after, "a prompt"));
    made->prompt = prompt;
    strcpy(made->prompt, before);
    memcpy(made->prompt + strlen(before), question.text, question.n_bytes);
    strcpy(made->prompt + strlen(before) + question.n_bytes, after);
    return SP_OK;
}

static sp_status copy_answers(item *made, const sp_qa_question *question) {
    void *answers = NULL, *texts = NULL;
    SP_TRY(sp_alloc_array(&answers, question->n_answers, sizeof *made->answers, "answers"));
    made->answers = answers;
    SP_TRY(sp_alloc_array(&texts, question->n_answers, sizeof *made->answer_texts, "answers"));
    made->answer_texts = texts;
    for (; made->n_answers < question->n_answers; made->n_answers++) {
        const sp_answer_text answer = question->answers[made->n_answers];
        SP_TRY(copy(&made->answers[made->n_answers], answer));
        made->answer_texts[made->n_answers] =
            (sp_answer_text){made->answers[made->n_answers], answer.n_bytes};
    }
    return SP_OK;
}

static sp_status keep_question(qa *q, const sp_qa_question *question) {
    char number[32];
    SP_TRY(grow(&q->items, q->n_items + 1, &q->item_capacity, sizeof *q->items));
    item *made = &q->items[q->n_items++];
    *made = (item){.context = q->n_contexts - 1};
    (void)snprintf(number, sizeof number, "%zu", question->index);
    made->id = strdup(question->id != NULL ? question->id : number);
    if (made->id == NULL) return sp_fail(SP_FAILURE, "no memory for an id");
    SP_TRY(copy(&made->question, question->question));
    SP_TRY(make_prompt(made, question->question));
    return copy_answers(made, question);
}

/* The question's context becomes the last one kept, unless it is that already. */
static sp_status keep_context(qa *q, const sp_qa_question *question) {
    if (q->n_contexts > 0 && q->contexts[q->n_contexts - 1].number == question->context_number)
        return SP_OK;
    SP_TRY(grow(&q->contexts, q->n_contexts + 1, &q->context_capacity, sizeof *q->contexts));
    kept_context made = {.n_bytes = question->context.n_bytes, .number = question->context_number};
    SP_TRY(sp_context_reader_count(q->methods.reader, &made.n_tokens, question->context));
    SP_TRY(copy(&made.text, question->context));
    q->contexts[q->n_contexts++] = made;
    return SP_OK;
}

static void choose_lengths(qa *q) {
    const sp_qa_job *job = q->job;
    const bool is_nq = strcmp(sp_question_reader_form(q->questions), "NQ") == 0;
    q->min_context = job->min_context != SIZE_MAX ? job->min_context
                     : is_nq                      ? LEAST_NQ_TOKENS
                                                  : LEAST_TOKENS;
    q->max_context = job->max_context == SIZE_MAX && is_nq ? MOST_NQ_TOKENS : job->max_context;
}

static sp_status read_questions(qa *q) {
    bool has_unfit = false; /* the last context kept is of the wrong length: it makes room */
    while (q->job->limit == 0 || q->n_items < q->job->limit) {
        sp_qa_question question;
        bool is_end = false;
        SP_TRY(sp_question_reader_next(q->questions, &question, &is_end));
        if (is_end) break;
        if (has_unfit && q->contexts[q->n_contexts - 1].number != question.context_number)
            free(q->contexts[--q->n_contexts].text);
        choose_lengths(q);
        SP_TRY(keep_context(q, &question));
        const size_t n_tokens = q->contexts[q->n_contexts - 1].n_tokens;
        has_unfit = n_tokens < q->min_context || n_tokens > q->max_context;
        if (has_unfit)
            q->n_passed_over++;
        else
            SP_TRY(keep_question(q, &question));
    }
    q->rule = sp_question_reader_rule(q->questions);
    q->form = sp_question_reader_form(q->questions);
    if (q->n_items > 0) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "'%s': no question to ask: %zu have contexts of fewer than %zu or too many "
                   "tokens; --min-context and --max-context set other limits",
                   q->job->data, q->n_passed_over, q->min_context);
}

/* ---- asking ---- */

/* The group that begins at item `begin` ends before the one returned: a matter of the items alone. A
   context whose questions two groups share is read twice. */
static size_t group_end(const qa *q, size_t begin) {
    const size_t wanted = sp_methods_group_size(q->n_items);
    size_t n_tokens = 0, end = begin;
    for (; end < q->n_items && end - begin < MOST_QUESTIONS; end++) {
        const bool is_same = end > begin && q->items[end].context == q->items[end - 1].context;
        if (is_same) continue;
        n_tokens += q->contexts[q->items[end].context].n_tokens;
        if (end > begin && (end - begin >= wanted || n_tokens > TOKENS_AT_ONCE)) break;
    }
    return end;
}

static sp_status note_answer(qa *q, size_t method, size_t index, const char *text, size_t n_bytes,
                             size_t n_rows) {
    const item *asked = &q->items[index];
    double *figures = sp_items_figures(&q->methods.items, method, index);
    sp_answer_score score = {0};
    SP_TRY(sp_answer_score_best(&score, (sp_answer_text){text, n_bytes}, asked->answer_texts,
                                asked->n_answers, q->rule));
    figures[F1] = score.f1;
    figures[EXACT] = score.exact;
    figures[ROWS] = (double)n_rows;
    return sp_items_note(&q->methods.items, method, index, text, n_bytes);
}

static sp_status ask_group(qa *q, size_t method, const sp_reading *readings, size_t begin,
                           size_t end) {
    sp_context_reader *reader = q->methods.reader;
    const sp_context_form form = q->methods.methods[method].form;
    sp_made_texts made = {0};
    SP_TRY(sp_context_reader_generate(reader, form, readings, end - begin, q->job->max_new_tokens,
                                      &made));
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < end - begin; i++)
        status = note_answer(q, method, begin + i, made.texts[i], made.lens[i],
                             sp_context_reader_rows(reader, readings[i].context, form));
    sp_made_texts_free(&made);
    return status == SP_OK ? sp_items_finish(&q->methods.items, method, begin, end) : status;
}

static sp_status read_group(qa *q, size_t begin, size_t end) {
    sp_context_reader *reader = q->methods.reader;
    sp_reading readings[MOST_QUESTIONS];
    size_t index = 0;
    sp_context_reader_clear(reader);
    for (size_t i = begin; i < end; i++) {
        const kept_context *context = &q->contexts[q->items[i].context];
        if (i == begin || q->items[i].context != q->items[i - 1].context)
            SP_TRY(sp_context_reader_add(reader, (sp_answer_text){context->text, context->n_bytes},
                                         &index));
        readings[i - begin] =
            (sp_reading){.context = index,
                         .joint = "\n\n",
                         .prompt = {q->items[i].prompt, strlen(q->items[i].prompt)}};
    }
    for (size_t m = 0; m < q->methods.n_methods; m++)
        if (sp_methods_asks(&q->methods, m, begin, end))
            SP_TRY(ask_group(q, m, readings, begin, end));
    return SP_OK;
}

static sp_status ask_share(qa *q) {
    for (size_t begin = 0, end; begin < q->n_items; begin = end) {
        bool is_mine = false;
        end = group_end(q, begin);
        SP_TRY(sp_methods_deal(&q->methods, begin, end, &is_mine));
        if (is_mine) SP_TRY(read_group(q, begin, end));
        sp_methods_update(&q->methods, end);
    }
    return SP_OK;
}

/* ---- results ---- */

static json_t *make_method(const qa *q, size_t m) {
    const double n = (double)q->n_items;
    json_t *made = sp_methods_describe(&q->methods, m);
    json_object_set_new(made, "f1", json_real(100 * sp_items_sum(&q->methods.items, m, F1) / n));
    json_object_set_new(made, "em", json_real(100 * sp_items_sum(&q->methods.items, m, EXACT) / n));
    json_object_set_new(made, "count", json_integer((json_int_t)q->n_items));
    json_object_set_new(made, "context_rows",
                        json_real(sp_items_sum(&q->methods.items, m, ROWS) / n));
    return made;
}

/* A question and its accepted answers; the caller adds what was made. */
static json_t *make_item(const item *asked) {
    json_t *answers = json_array();
    for (size_t i = 0; i < asked->n_answers; i++)
        json_array_append_new(answers, sp_json_from_bytes(asked->answer_texts[i].text,
                                                          asked->answer_texts[i].n_bytes));
    return json_pack("{s:o, s:o, s:o}", "id", sp_json_from_bytes(asked->id, strlen(asked->id)),
                     "question", sp_json_from_bytes(asked->question, strlen(asked->question)),
                     "answers", answers);
}

static json_t *make_samples(const qa *q) {
    json_t *samples = json_array();
    for (size_t i = 0; i < q->n_items && i < q->job->n_samples; i++) {
        json_t *sample = make_item(&q->items[i]);
        sp_methods_add_texts(&q->methods, sample, i);
        json_array_append_new(samples, sample);
    }
    return samples;
}

static sp_status make_result(const qa *q, json_t **result) {
    json_t *methods = json_array();
    for (size_t m = 0; m < q->methods.n_methods; m++)
        json_array_append_new(methods, make_method(q, m));
    json_t *most =
        q->max_context == SIZE_MAX ? json_null() : json_integer((json_int_t)q->max_context);
    *result = json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:I, s:o, s:o}", "task", "qa", "data",
                        q->form, "file", sp_json_from_bytes(q->job->data, strlen(q->job->data)),
                        "count", (json_int_t)q->n_items, "passed_over",
                        (json_int_t)q->n_passed_over, "min_context", (json_int_t)q->min_context,
                        "max_context", most, "max_new_tokens", (json_int_t)q->job->max_new_tokens,
                        "methods", methods, "samples", make_samples(q));
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

/* A line for each method and question. */
static void print_answers(const qa *q, FILE *lines) {
    for (size_t m = 0; m < q->methods.n_methods; m++) {
        for (size_t i = 0; i < q->n_items; i++) {
            const double *figures = sp_items_figures(&q->methods.items, m, i);
            json_t *line = make_item(&q->items[i]), *method = sp_methods_describe(&q->methods, m);
            json_object_set_new(line, "prediction", sp_items_text(&q->methods.items, m, i));
            json_object_update(line, method);
            json_object_set_new(line, "f1", json_real(100 * figures[F1]));
            json_object_set_new(line, "em", json_real(100 * figures[EXACT]));
            (void)json_dumpf(line, lines, JSON_COMPACT);
            (void)fputc('\n', lines);
            json_decref(method);
            json_decref(line);
        }
    }
}

static sp_status write_answers(const qa *q) {
    char *bytes = NULL;
    size_t n_bytes = 0;
    FILE *lines = open_memstream(&bytes, &n_bytes);
    if (lines == NULL) return sp_fail(SP_FAILURE, "no memory for the answers");
    print_answers(q, lines);
    const sp_status status = fclose(lines) == 0 ? sp_atomic_write(q->job->output, bytes, n_bytes)
                                                : sp_fail(SP_FAILURE, "no memory for the answers");
    free(bytes);
    return status;
}

/* Those of questions that are asked: the last one kept may have none. */
static sp_status write_contexts(const qa *q, json_t **result) {
    sp_contexts_file file = {0};
    sp_status status = sp_contexts_file_begin(&file);
    for (size_t i = 0; status == SP_OK && i < q->n_items; i++) {
        const kept_context *context = &q->contexts[q->items[i].context];
        if (i == 0 || q->items[i].context != q->items[i - 1].context)
            status = sp_contexts_file_add(&file, context->number,
                                          (sp_answer_text){context->text, context->n_bytes});
    }
    return sp_contexts_file_end(&file, status, q->job->methods.contexts, "qa", q->form, q->n_items,
                                result);
}

static sp_status report(const qa *q, json_t **result) {
    if (sp_world_rank(q->methods.world) != 0) return SP_OK;
    SP_TRY(make_result(q, result));
    return q->job->output != NULL ? write_answers(q) : SP_OK;
}

/* ---- the whole ---- */

static sp_status open_all(qa *q, sp_world *world) {
    SP_TRY(sp_methods_open(&q->methods, world, &q->job->methods));
    SP_TRY(sp_question_reader_open(&q->questions, q->job->data));
    SP_TRY(read_questions(q));
    return sp_methods_begin(&q->methods, q->n_items, N_FIGURES);
}

static sp_status resume(qa *q) {
    const char *const data[] = {q->job->data};
    return sp_methods_resume(&q->methods, "qa", data, 1,
                             json_pack("{s:I, s:I, s:I, s:I}", "items", (json_int_t)q->n_items,
                                       "min_context", (json_int_t)q->min_context, "max_context",
                                       (json_int_t)q->max_context, "max_new_tokens",
                                       (json_int_t)q->job->max_new_tokens));
}

static sp_status evaluate(qa *q, sp_world *world, json_t **result) {
    SP_TRY(sp_agree(world, open_all(q, world)));
    if (q->n_passed_over > 0)
        sp_log(SP_LOG_INFO, "%zu questions are asked, %zu are on contexts of another length",
               q->n_items, q->n_passed_over);
    if (q->job->methods.contexts != NULL)
        return sp_agree(world, sp_world_rank(world) == 0 ? write_contexts(q, result) : SP_OK);
    SP_TRY(resume(q));
    for (size_t c = 0; c < q->methods.compressors.n; c++) {
        SP_TRY(sp_methods_use(&q->methods, c));
        SP_TRY(sp_agree(world, ask_share(q)));
    }
    SP_TRY(sp_methods_gather(&q->methods));
    return sp_agree(world, report(q, result));
}

static void free_items(qa *q) {
    for (size_t i = 0; i < q->n_items; i++) {
        item *it = &q->items[i];
        for (size_t k = 0; k < it->n_answers; k++) free(it->answers[k]);
        free(it->answers);
        free(it->answer_texts);
        free(it->prompt);
        free(it->question);
        free(it->id);
    }
    for (size_t i = 0; i < q->n_contexts; i++) free(q->contexts[i].text);
    free(q->items);
    free(q->contexts);
}

sp_status sp_evaluate_qa(sp_world *world, json_t **result, const sp_qa_job *job) {
    qa q = {.job = job};
    const sp_status status = evaluate(&q, world, result);
    free_items(&q);
    sp_question_reader_close(q.questions);
    sp_methods_close(&q.methods);
    return status;
}
