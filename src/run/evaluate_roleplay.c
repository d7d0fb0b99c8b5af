#include "run/evaluate_roleplay.h"

#include "mpi/agree.h"
#include "run/evaluate_contexts.h"
#include "run/evaluate_dialogues.h"

#include <math.h>
#include <string.h>

/* Consecutive dialogues are read at once, by one rank. */
enum { DIALOGUES_AT_ONCE = 4 };

typedef enum figure { NLL, TOKENS, ROWS, N_FIGURES } figure;

typedef struct roleplay {
    const sp_roleplay_job *job;
    sp_methods methods;
    sp_dialogues dialogues;
} roleplay;

static sp_answer_text text_of(const char *text) { return (sp_answer_text){text, strlen(text)}; }

static sp_status score_group(roleplay *p, size_t method, const sp_reading *readings, size_t begin,
                             size_t end) {
    sp_context_reader *reader = p->methods.reader;
    const sp_context_form form = p->methods.methods[method].form;
    sp_target_score scores[DIALOGUES_AT_ONCE];
    SP_TRY(sp_context_reader_score(reader, form, readings, end - begin, scores));
    for (size_t i = 0; i < end - begin; i++) {
        double *figures = sp_items_figures(&p->methods.items, method, begin + i);
        figures[NLL] = scores[i].nll;
        figures[TOKENS] = (double)scores[i].n_tokens;
        figures[ROWS] = (double)sp_context_reader_rows(reader, readings[i].context, form);
    }
    return sp_items_finish(&p->methods.items, method, begin, end);
}

static sp_status read_group(roleplay *p, size_t begin, size_t end) {
    sp_reading readings[DIALOGUES_AT_ONCE];
    sp_context_reader_clear(p->methods.reader);
    for (size_t i = begin; i < end; i++) {
        const sp_dialogue *dialogue = &p->dialogues.items[i];
        sp_reading *reading = &readings[i - begin];
        *reading = (sp_reading){.joint = "\n",
                                .prompt = text_of(dialogue->prompt),
                                .target = text_of(dialogue->answer),
                                .has_end = true};
        SP_TRY(sp_context_reader_add(p->methods.reader, text_of(dialogue->context),
                                     &reading->context));
    }
    for (size_t m = 0; m < p->methods.n_methods; m++)
        if (sp_methods_asks(&p->methods, m, begin, end))
            SP_TRY(score_group(p, m, readings, begin, end));
    return SP_OK;
}

static sp_status score_share(roleplay *p) {
    const size_t n = p->dialogues.n;
    for (size_t begin = 0; begin < n; begin += DIALOGUES_AT_ONCE) {
        const size_t end = n - begin < DIALOGUES_AT_ONCE ? n : begin + DIALOGUES_AT_ONCE;
        bool is_mine = false;
        SP_TRY(sp_methods_deal(&p->methods, begin, end, &is_mine));
        if (is_mine) SP_TRY(read_group(p, begin, end));
        sp_methods_update(&p->methods, end);
    }
    return SP_OK;
}

static sp_status add_method(const roleplay *p, json_t *methods, size_t m) {
    const double n_tokens = sp_items_sum(&p->methods.items, m, TOKENS);
    const double mean = sp_items_sum(&p->methods.items, m, NLL) / n_tokens;
    const double n = (double)p->dialogues.n;
    json_t *made = sp_methods_describe(&p->methods, m);
    if (json_array_append_new(methods, made) != 0)
        return sp_fail(SP_FAILURE, "no memory for a result");
    if (!isfinite(exp(mean)))
        return sp_fail(SP_NUMERIC, "the perplexity is not finite: %g nats a token", mean);
    json_object_set_new(made, "perplexity", json_real(exp(mean)));
    json_object_set_new(made, "tokens", json_integer((json_int_t)n_tokens));
    json_object_set_new(made, "count", json_integer((json_int_t)p->dialogues.n));
    json_object_set_new(made, "context_rows",
                        json_real(sp_items_sum(&p->methods.items, m, ROWS) / n));
    return SP_OK;
}

static sp_status report(const roleplay *p, json_t **result) {
    if (sp_world_rank(p->methods.world) != 0) return SP_OK;
    json_t *methods = json_array();
    sp_status status = SP_OK;
    for (size_t m = 0; status == SP_OK && m < p->methods.n_methods; m++)
        status = add_method(p, methods, m);
    if (status == SP_OK) {
        *result = json_pack("{s:s, s:s, s:I, s:I, s:O}", "task", "roleplay", "data",
                            p->dialogues.form, "count", (json_int_t)p->dialogues.n, "passed_over",
                            (json_int_t)p->dialogues.n_passed_over, "methods", methods);
        if (*result == NULL) status = sp_fail(SP_FAILURE, "no memory for a result");
    }
    json_decref(methods);
    return status;
}

static sp_status open_all(roleplay *p, sp_world *world) {
    SP_TRY(sp_dialogues_read(&p->dialogues, p->job->data, p->job->limit));
    SP_TRY(sp_methods_open(&p->methods, world, &p->job->methods));
    return sp_methods_begin(&p->methods, p->dialogues.n, N_FIGURES);
}

/* Each once in a row. */
static sp_status write_contexts(const roleplay *p, json_t **result) {
    sp_contexts_file file = {0};
    sp_status status = sp_contexts_file_begin(&file);
    for (size_t i = 0; status == SP_OK && i < p->dialogues.n; i++) {
        const char *context = p->dialogues.items[i].context;
        if (i == 0 || strcmp(context, p->dialogues.items[i - 1].context) != 0)
            status = sp_contexts_file_add(&file, i, text_of(context));
    }
    return sp_contexts_file_end(&file, status, p->job->methods.contexts, "roleplay",
                                p->dialogues.form, p->dialogues.n, result);
}

static sp_status resume(roleplay *p) {
    const char *const data[] = {p->job->data};
    return sp_methods_resume(&p->methods, "roleplay", data, 1,
                             json_pack("{s:I}", "items", (json_int_t)p->dialogues.n));
}

static sp_status evaluate(roleplay *p, sp_world *world, json_t **result) {
    SP_TRY(sp_agree(world, open_all(p, world)));
    if (p->job->methods.contexts != NULL)
        return sp_agree(world, sp_world_rank(world) == 0 ? write_contexts(p, result) : SP_OK);
    SP_TRY(resume(p));
    for (size_t c = 0; c < p->methods.compressors.n; c++) {
        SP_TRY(sp_methods_use(&p->methods, c));
        SP_TRY(sp_agree(world, score_share(p)));
    }
    SP_TRY(sp_methods_gather(&p->methods));
    return sp_agree(world, report(p, result));
}

sp_status sp_evaluate_roleplay(sp_world *world, json_t **result, const sp_roleplay_job *job) {
    roleplay p = {.job = job};
    const sp_status status = evaluate(&p, world, result);
    sp_methods_close(&p.methods);
    sp_dialogues_free(&p.dialogues);
    return status;
}
