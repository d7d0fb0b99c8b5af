#include "run/evaluate_icl.h"

#include "base/memory.h"
#include "mpi/agree.h"
#include "run/evaluate_contexts.h"
#include "run/evaluate_exemplars.h"
#include "text/json_text.h"

#include <stdlib.h>
#include <string.h>

/* A group of consecutive examples is chosen for at once, by one rank. */
enum { EXAMPLES_AT_ONCE = 8 };

/* Of each option, with the content and without. */
enum { READINGS_AN_EXAMPLE = 2 * SP_N_OPTIONS };

typedef enum figure { CORRECT, N_FIGURES } figure;

typedef struct icl {
    const sp_icl_job *job;
    sp_methods methods;
    sp_exemplars tests, examples;
    char *shown; /* the demonstrations, owned */
    size_t n_shown, shown_len, n_shown_tokens;
    size_t context; /* that they are in the reader */
    size_t *rows;   /* [n_methods] of the context, owned */
} icl;

/* ---- demonstrations ---- */

static sp_answer_text text_of(const char *text) {
    return (sp_answer_text){text, text != NULL ? strlen(text) : 0};
}

/* Appends one demonstration, unless they are too many tokens then. */
static sp_status show(icl *i, const sp_exemplar *example, bool *is_full) {
    const size_t prompt_len = strlen(example->prompt), answer_len = strlen(example->answer);
    const size_t len = i->shown_len + prompt_len + answer_len + 2;
    char *grown = realloc(i->shown, len + 1);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for demonstrations");
    i->shown = grown;
    memcpy(grown + i->shown_len, example->prompt, prompt_len);
    memcpy(grown + i->shown_len + prompt_len, example->answer, answer_len);
    memcpy(grown + len - 2, "\n\n", 3);
    size_t n_tokens = 0;
    SP_TRY(sp_context_reader_count(i->methods.reader, &n_tokens, (sp_answer_text){grown, len}));
    *is_full = n_tokens > i->job->demonstration_tokens;
    if (*is_full) {
        grown[i->shown_len] = '\0';
        return SP_OK;
    }
    i->n_shown++;
    i->shown_len = len;
    i->n_shown_tokens = n_tokens;
    return SP_OK;
}

static sp_status show_examples(icl *i) {
    void *order = NULL;
    SP_TRY(sp_alloc_array(&order, i->examples.n, sizeof(size_t), "demonstrations"));
    const size_t *next = order, n = sp_exemplars_order(&i->examples, order);
    bool is_full = false;
    sp_status status = SP_OK;
    for (size_t k = 0; status == SP_OK && k < n && !is_full; k++)
        status = show(i, &i->examples.items[next[k]], &is_full);
    free(order);
    if (status != SP_OK || i->n_shown > 0) return status;
    return sp_fail(SP_BAD_DATA, "'%s': no demonstration of at most %zu tokens",
                   i->job->demonstrations, i->job->demonstration_tokens);
}

/* ---- answering ---- */

static void make_reading(const icl *i, sp_reading *reading, const char *prompt,
                         const char *target) {
    *reading = (sp_reading){
        .context = i->context, .joint = "", .prompt = text_of(prompt), .target = text_of(target)};
}

static sp_status check_scores(const sp_target_score *scores, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (scores[k].n_tokens == 0)
            return sp_fail(SP_BAD_DATA, "the decoder's tokenizer has no token for an option");
    return SP_OK;
}

/* scores [READINGS_AN_EXAMPLE]: each option after the item, then each after the empty one. */
static size_t best_option(const sp_target_score *scores) {
    size_t best = 0;
    double least = 0;
    for (size_t k = 0; k < SP_N_OPTIONS; k++) {
        const sp_target_score *item = &scores[k], *empty = &scores[SP_N_OPTIONS + k];
        const double score =
            item->nll / (double)item->n_tokens - empty->nll / (double)empty->n_tokens;
        if (k > 0 && score >= least) continue;
        best = k;
        least = score;
    }
    return best;
}

static sp_status choose_group(icl *i, size_t method, size_t begin, size_t end) {
    sp_reading readings[EXAMPLES_AT_ONCE * READINGS_AN_EXAMPLE];
    sp_target_score scores[EXAMPLES_AT_ONCE * READINGS_AN_EXAMPLE];
    size_t n = 0;
    for (size_t k = begin; k < end; k++) {
        const sp_exemplar *example = &i->tests.items[k];
        for (size_t o = 0; o < READINGS_AN_EXAMPLE; o++)
            make_reading(i, &readings[n++], o < SP_N_OPTIONS ? example->prompt : example->empty,
                         i->tests.options[o % SP_N_OPTIONS]);
    }
    SP_TRY(sp_context_reader_score(i->methods.reader, i->methods.methods[method].form, readings, n,
                                   scores));
    SP_TRY(check_scores(scores, n));
    for (size_t k = begin; k < end; k++) {
        const size_t best = best_option(scores + (k - begin) * READINGS_AN_EXAMPLE);
        const char *text = i->tests.options[best];
        sp_items_figures(&i->methods.items, method, k)[CORRECT] = best == i->tests.items[k].label;
        SP_TRY(sp_items_note(&i->methods.items, method, k, text, strlen(text)));
    }
    return SP_OK;
}

static sp_status solve_group(icl *i, size_t method, size_t begin, size_t end) {
    sp_made_texts made = {0};
    void *readings = NULL;
    SP_TRY(sp_alloc_array(&readings, end - begin, sizeof(sp_reading), "examples"));
    for (size_t k = begin; k < end; k++)
        make_reading(i, (sp_reading *)readings + (k - begin), i->tests.items[k].prompt, NULL);
    sp_status status =
        sp_context_reader_generate(i->methods.reader, i->methods.methods[method].form, readings,
                                   end - begin, i->job->max_new_tokens, &made);
    free(readings);
    for (size_t k = begin; status == SP_OK && k < end; k++) {
        const char *text = made.texts[k - begin];
        sp_items_figures(&i->methods.items, method, k)[CORRECT] =
            sp_exemplar_is_solved(&i->tests.items[k], text);
        status = sp_items_note(&i->methods.items, method, k, text, made.lens[k - begin]);
    }
    sp_made_texts_free(&made);
    return status;
}

static sp_status answer_group(icl *i, size_t begin, size_t end) {
    for (size_t m = 0; m < i->methods.n_methods; m++) {
        if (!sp_methods_asks(&i->methods, m, begin, end)) continue;
        SP_TRY(i->tests.options != NULL ? choose_group(i, m, begin, end)
                                        : solve_group(i, m, begin, end));
        SP_TRY(sp_items_finish(&i->methods.items, m, begin, end));
    }
    return SP_OK;
}

/* The demonstrations are the reader's one context. */
static sp_status read_demonstrations(icl *i) {
    sp_context_reader *reader = i->methods.reader;
    SP_TRY(sp_context_reader_add(reader, (sp_answer_text){i->shown, i->shown_len}, &i->context));
    for (size_t m = 0; m < i->methods.n_methods; m++)
        if (i->methods.methods[m].compressor == i->methods.compressor)
            i->rows[m] = sp_context_reader_rows(reader, i->context, i->methods.methods[m].form);
    return SP_OK;
}

static sp_status answer_share(icl *i) {
    const size_t at_once =
        i->tests.options != NULL ? EXAMPLES_AT_ONCE : sp_methods_group_size(i->tests.n);
    SP_TRY(read_demonstrations(i));
    for (size_t begin = 0; begin < i->tests.n; begin += at_once) {
        const size_t left = i->tests.n - begin;
        const size_t end = begin + (left < at_once ? left : at_once);
        bool is_mine = false;
        SP_TRY(sp_methods_deal(&i->methods, begin, end, &is_mine));
        if (is_mine) SP_TRY(answer_group(i, begin, end));
        sp_methods_update(&i->methods, end);
    }
    return SP_OK;
}

/* ---- results ---- */

static json_t *make_method(const icl *i, size_t m) {
    json_t *made = sp_methods_describe(&i->methods, m);
    const double n = (double)i->tests.n;
    json_object_set_new(made, "accuracy",
                        json_real(100 * sp_items_sum(&i->methods.items, m, CORRECT) / n));
    json_object_set_new(made, "count", json_integer((json_int_t)i->tests.n));
    json_object_set_new(made, "context_rows", json_integer((json_int_t)i->rows[m]));
    return made;
}

static json_t *make_sample(const icl *i, size_t k) {
    const sp_exemplar *example = &i->tests.items[k];
    json_t *made = json_pack("{s:o, s:o}", "prompt",
                             sp_json_from_bytes(example->prompt, strlen(example->prompt)), "answer",
                             sp_json_from_bytes(example->answer, strlen(example->answer)));
    sp_methods_add_texts(&i->methods, made, k);
    return made;
}

static sp_status report(const icl *i, json_t **result) {
    if (sp_world_rank(i->methods.world) != 0) return SP_OK;
    json_t *methods = json_array(), *samples = json_array();
    for (size_t m = 0; m < i->methods.n_methods; m++)
        json_array_append_new(methods, make_method(i, m));
    for (size_t k = 0; k < i->tests.n && k < i->job->n_samples; k++)
        json_array_append_new(samples, make_sample(i, k));
    *result = json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "task", "icl", "data", i->tests.task,
                        "count", (json_int_t)i->tests.n, "demonstrations", (json_int_t)i->n_shown,
                        "demonstration_tokens", (json_int_t)i->n_shown_tokens, "methods", methods,
                        "samples", samples);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

/* ---- the whole ---- */

static sp_status open_all(icl *i, sp_world *world) {
    const sp_icl_job *job = i->job;
    void *rows = NULL;
    SP_TRY(sp_exemplars_read(&i->tests, job->data, job->limit));
    SP_TRY(sp_exemplars_read(&i->examples, job->demonstrations, 0));
    if (strcmp(i->tests.task, i->examples.task) != 0)
        return sp_fail(SP_BAD_DATA, "'%s' is %s, '%s' is %s", job->data, i->tests.task,
                       job->demonstrations, i->examples.task);
    SP_TRY(sp_methods_open(&i->methods, world, &job->methods));
    SP_TRY(sp_alloc_array(&rows, i->methods.n_methods, sizeof *i->rows, "methods"));
    i->rows = rows;
    SP_TRY(show_examples(i));
    return sp_methods_begin(&i->methods, i->tests.n, N_FIGURES);
}

/* The demonstrations. */
static sp_status write_contexts(const icl *i, json_t **result) {
    sp_contexts_file file = {0};
    sp_status status = sp_contexts_file_begin(&file);
    if (status == SP_OK)
        status = sp_contexts_file_add(&file, 0, (sp_answer_text){i->shown, i->shown_len});
    return sp_contexts_file_end(&file, status, i->job->methods.contexts, "icl", i->tests.task,
                                i->tests.n, result);
}

static sp_status resume(icl *i) {
    const char *const data[] = {i->job->data, i->job->demonstrations};
    return sp_methods_resume(&i->methods, "icl", data, 2,
                             json_pack("{s:I, s:I, s:I}", "items", (json_int_t)i->tests.n,
                                       "demonstrations", (json_int_t)i->n_shown, "max_new_tokens",
                                       (json_int_t)i->job->max_new_tokens));
}

static sp_status evaluate(icl *i, sp_world *world, json_t **result) {
    SP_TRY(sp_agree(world, open_all(i, world)));
    if (i->job->methods.contexts != NULL)
        return sp_agree(world, sp_world_rank(world) == 0 ? write_contexts(i, result) : SP_OK);
    SP_TRY(resume(i));
    for (size_t c = 0; c < i->methods.compressors.n; c++) {
        SP_TRY(sp_methods_use(&i->methods, c));
        SP_TRY(sp_agree(world, answer_share(i)));
    }
    SP_TRY(sp_methods_gather(&i->methods));
    return sp_agree(world, report(i, result));
}

sp_status sp_evaluate_icl(sp_world *world, json_t **result, const sp_icl_job *job) {
    icl i = {.job = job};
    const sp_status status = evaluate(&i, world, result);
    sp_methods_close(&i.methods);
    sp_exemplars_free(&i.tests);
    sp_exemplars_free(&i.examples);
    free(i.shown);
    free(i.rows);
    return status;
}
