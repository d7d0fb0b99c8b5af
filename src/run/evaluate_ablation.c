#include "run/evaluate_ablation.h"

#include "base/memory.h"
#include "mpi/agree.h"
#include "run/outline.h"
#include "run/trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ablation {
    sp_world *world;
    const sp_ablation_job *job;
    const char **assignments; /* the user's, then what the base's data are; owned, not its items */
    char validation[64];
    char *tokens;                 /* the file, owned */
    size_t *n_ratios;             /* [n_checkpoints] that are measured, owned */
    json_t *base;                 /* its configuration */
    json_t *rows;                 /* what is known of each checkpoint: [{name, checkpoint, ...}] */
    json_t *segments, *questions; /* rank 0's: what the two tasks found */
} ablation;

static const sp_methods_options *options_of(const ablation *a) {
    return &a->job->reconstruction.compressors;
}

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for an ablation"); }

/* ---- what differs ---- */

/* Keys that change nothing of what was learnt, apart from rounding. */
static bool is_told(const char *key) {
    static const char *const others[] = {"run.dir",
                                         "run.watchdog_s",
                                         "data.tokens",
                                         "data.encoder_states",
                                         "data.validation",
                                         "train.stop_at_step",
                                         "train.micro_batch",
                                         "train.recompute",
                                         "train.validate_every",
                                         "train.validate_segments",
                                         "checkpoint.",
                                         "parallel."};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const size_t len = strlen(others[i]);
        if (strncmp(key, others[i], others[i][len - 1] == '.' ? len : len + 1) == 0) return false;
    }
    return true;
}

/* The member at a key's path, borrowed. */
static json_t *value_at(const json_t *object, const char *key) {
    for (const char *dot; (dot = strchr(key, '.')) != NULL; key = dot + 1) {
        char section[64];
        snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
        object = json_object_get(object, section);
    }
    return json_object_get(object, key);
}

static sp_status add_changes(json_t *row, const json_t *config, const json_t *base) {
    json_t *changes = json_array();
    if (json_object_set_new(row, "changes", changes) != 0) return no_memory();
    for (size_t i = 0; i < sp_run_config_table.n_keys; i++) {
        const char *key = sp_run_config_table.keys[i].name;
        json_t *here = value_at(config, key), *there = value_at(base, key);
        if (!is_told(key) || json_equal(here, there)) continue;
        if (json_array_append_new(changes, json_pack("{s:s, s:O, s:O}", "key", key, "value", here,
                                                     "base", there)) != 0)
            return no_memory();
    }
    return SP_OK;
}

/* Of a model without its output head, which memory does not pass. */
static uint64_t count_parameters(const sp_model_config *c) {
    const uint64_t norm = c->d_model * (c->family->has_layernorm ? 2 : 1);
    uint64_t layer = 2 * norm;
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        const uint64_t n_out = sp_matrix_n_out(c, role);
        layer += n_out * sp_matrix_n_in(c, role) + (c->has_bias[role] ? n_out : 0);
    }
    const uint64_t positions = c->family->has_learned_positions ? c->max_positions : 0;
    return (c->vocab_size + positions) * c->d_model + c->n_layers * layer + norm;
}

static sp_status add_sizes(json_t *row, const sp_run_config *config) {
    sp_outline outline = {0};
    SP_TRY(sp_outline_create(&outline, config));
    const sp_model_config *encoder = &outline.encoder.config;
    json_t *sizes =
        json_pack("{s:{s:s, s:I, s:I, s:I}, s:I}", "encoder", "model", config->encoder.model,
                  "layers", (json_int_t)encoder->n_layers, "d_model", (json_int_t)encoder->d_model,
                  "parameters", (json_int_t)count_parameters(encoder), "trained_parameters",
                  (json_int_t)outline.compressor->params.n_values);
    sp_outline_release(&outline);
    const bool is_whole = sizes != NULL && json_object_update(row, sizes) == 0;
    json_decref(sizes);
    return is_whole ? SP_OK : no_memory();
}

/* ---- the base's data are everyone's ---- */

static sp_status choose_data(ablation *a, const sp_run_config *base) {
    const sp_methods_options *options = options_of(a);
    const char *tokens =
        a->job->reconstruction.tokens != NULL ? a->job->reconstruction.tokens : base->data.tokens;
    if (tokens == NULL)
        return sp_fail(SP_USAGE, "'%s' was trained on no token file: name one to reconstruct",
                       options->checkpoints[0]);
    a->tokens = strdup(tokens);
    snprintf(a->validation, sizeof a->validation, "data.validation=%.17g", base->data.validation);
    void *assignments = NULL;
    SP_TRY(sp_alloc_array(&assignments, options->n_assignments + 1, sizeof *a->assignments,
                          "assignments"));
    a->assignments = assignments;
    for (size_t i = 0; i < options->n_assignments; i++) a->assignments[i] = options->assignments[i];
    a->assignments[options->n_assignments] = a->validation;
    return a->tokens != NULL ? SP_OK : no_memory();
}

static sp_status describe_opened(ablation *a, size_t c, const sp_trained *trained) {
    const sp_methods_options *options = options_of(a);
    const char *name = a->job->names != NULL ? a->job->names[c] : NULL;
    json_t *config = NULL;
    SP_TRY(sp_config_dump(&config, &trained->config, &sp_run_config_table));
    a->n_ratios[c] = options->ratios.n_items > 0 ? options->ratios.n_items
                                                 : trained->config.segment.ratios.n_items;
    if (c == 0) a->base = json_incref(config);
    json_t *row = json_pack(
        "{s:s, s:s, s:I}", "name", name != NULL ? name : options->checkpoints[c], "checkpoint",
        options->checkpoints[c], "step", (json_int_t)sp_checkpoint_step(trained->checkpoint));
    sp_status status = row != NULL ? add_changes(row, config, a->base) : no_memory();
    json_decref(config);
    if (status == SP_OK) status = add_sizes(row, &trained->config);
    if (status == SP_OK && json_array_append(a->rows, row) != 0) status = no_memory();
    json_decref(row);
    if (status == SP_OK && c == 0) status = choose_data(a, &trained->config);
    return status;
}

/* Every rank, as all need to know the data. */
static sp_status describe(ablation *a) {
    const sp_methods_options *options = options_of(a);
    void *n_ratios = NULL;
    SP_TRY(sp_alloc_array(&n_ratios, options->n_checkpoints, sizeof *a->n_ratios, "an ablation"));
    a->n_ratios = n_ratios;
    a->rows = json_array();
    if (a->rows == NULL) return no_memory();
    for (size_t c = 0; c < options->n_checkpoints; c++) {
        sp_trained trained = {0};
        SP_TRY(sp_trained_open(&trained, options->checkpoints[c], options->assignments,
                               options->n_assignments, SP_SIDES_NEITHER));
        const sp_status status = describe_opened(a, c, &trained);
        sp_trained_close(&trained);
        SP_TRY(status);
    }
    return SP_OK;
}

/* ---- measuring ---- */

static sp_status measure(ablation *a) {
    sp_reconstruction_job reconstruction = a->job->reconstruction;
    reconstruction.compressors.assignments = a->assignments;
    reconstruction.compressors.n_assignments++;
    reconstruction.tokens = a->tokens;
    SP_TRY(sp_evaluate_reconstruction(a->world, &a->segments, &reconstruction));
    if (a->job->qa.data == NULL) return SP_OK;
    sp_qa_job qa = a->job->qa;
    qa.methods = *options_of(a);
    return sp_evaluate_qa(a->world, &a->questions, &qa);
}

/* ---- results ---- */

/* Those that are there. */
static void copy_members(json_t *row, const json_t *from, const char *const *keys) {
    for (; *keys != NULL; keys++) {
        json_t *value = json_object_get(from, *keys);
        if (value != NULL) json_object_set(row, *keys, value);
    }
}

static void add_figures(json_t *row, const json_t *measured, const json_t *asked) {
    static const char *const of_segments[] = {
        "ratio",        "segments",    "bleu",           "bleu_sentence", "rouge_l",
        "rouge_l_stem", "exact_match", "token_accuracy", "perplexity",    NULL};
    static const char *const of_answers[] = {"f1", "em", "context_rows", NULL};
    copy_members(row, measured, of_segments);
    copy_members(row, asked, of_answers);
}

/* Both tasks go through the checkpoints, and the ratios of each, in one order. */
static sp_status fill_rows(const ablation *a, json_t *rows) {
    const json_t *by_ratio = json_object_get(a->segments, "by_ratio");
    const json_t *methods = json_object_get(a->questions, "methods");
    const size_t n_others = 2; /* the full context, and none */
    for (size_t c = 0, k = 0; c < json_array_size(a->rows); c++) {
        for (size_t i = 0; i < a->n_ratios[c]; i++, k++) {
            json_t *row = json_copy(json_array_get(a->rows, c));
            if (json_array_append_new(rows, row) != 0) return no_memory();
            add_figures(row, json_array_get(by_ratio, k), json_array_get(methods, n_others + k));
        }
    }
    return SP_OK;
}

/* What was asked, and how the decoder answers with the text itself, and without. */
static sp_status add_questions(const ablation *a, json_t *result) {
    static const char *const of_file[] = {"data", "count", NULL};
    static const char *const of_method[] = {"method", "f1", "em", "context_rows", NULL};
    json_t *methods = json_array();
    if (json_object_set_new(result, "methods", methods) != 0) return no_memory();
    copy_members(result, a->questions, of_file);
    for (size_t m = 0; m < 2; m++) {
        json_t *method = json_object();
        if (json_array_append_new(methods, method) != 0) return no_memory();
        copy_members(method, json_array_get(json_object_get(a->questions, "methods"), m),
                     of_method);
    }
    return SP_OK;
}

static sp_status report(const ablation *a, json_t **result) {
    if (sp_world_rank(a->world) != 0) return SP_OK;
    json_t *rows = json_array();
    json_t *made = json_pack("{s:s, s:s, s:O}", "task", "ablation", "tokens", a->tokens, "split",
                             json_object_get(a->segments, "split"));
    sp_status status = rows != NULL && made != NULL ? SP_OK : no_memory();
    if (status == SP_OK && a->questions != NULL) status = add_questions(a, made);
    if (status == SP_OK) status = fill_rows(a, rows);
    if (status == SP_OK && json_object_set(made, "rows", rows) != 0) status = no_memory();
    json_decref(rows);
    if (status == SP_OK)
        *result = made;
    else
        json_decref(made);
    return status;
}

/* ---- the whole ---- */

static sp_status evaluate(ablation *a, json_t **result) {
    SP_TRY(sp_agree(a->world, describe(a)));
    SP_TRY(measure(a));
    return sp_agree(a->world, report(a, result));
}

sp_status sp_evaluate_ablation(sp_world *world, json_t **result, const sp_ablation_job *job) {
    ablation a = {.world = world, .job = job};
    const sp_status status = evaluate(&a, result);
    json_decref(a.questions);
    json_decref(a.segments);
    json_decref(a.rows);
    json_decref(a.base);
    free(a.n_ratios);
    free(a.tokens);
    free(a.assignments);
    return status;
}
