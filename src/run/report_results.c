#include "run/report_results.h"

#include "base/read_all.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const sp_result_kind sp_result_kinds[SP_N_RESULT_TASKS] = {
    [SP_RESULT_RECONSTRUCTION] = {"reconstruction",
                                  "Reconstruction",
                                  {"bleu", "bleu_sentence", "rouge_l", "rouge_l_stem",
                                   "exact_match", "token_accuracy", "perplexity", "segments",
                                   "count", NULL}},
    [SP_RESULT_QA] = {"qa", "Question answering", {"f1", "em", "count", "context_rows", NULL}},
    [SP_RESULT_ICL] = {"icl", "In-context learning", {"accuracy", "count", "context_rows", NULL}},
    [SP_RESULT_ROLEPLAY] = {"roleplay",
                            "Role play",
                            {"perplexity", "tokens", "count", "context_rows", NULL}},
    [SP_RESULT_EFFICIENCY] = {"efficiency",
                              "Efficiency",
                              {"compression_s", "prefill_s", "decode_s", "one_shot_s",
                               "amortised_s", "one_shot_speedup", "amortised_speedup",
                               "break_even_uses", "context_rows", "input_tokens", "new_tokens",
                               "batch", "ranks", NULL}},
};

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for results"); }

sp_status sp_report_results_init(sp_report_results *results) {
    bool is_whole = true;
    *results = (sp_report_results){
        .samples = json_array(), .lengths = json_array(), .notes = json_array()};
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++) {
        results->scores[t] = json_array();
        is_whole = is_whole && results->scores[t] != NULL;
    }
    is_whole = is_whole && results->samples != NULL && results->lengths != NULL;
    return is_whole && results->notes != NULL ? SP_OK : no_memory();
}

void sp_report_results_free(sp_report_results *results) {
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++) json_decref(results->scores[t]);
    json_decref(results->samples);
    json_decref(results->lengths);
    json_decref(results->notes);
    *results = (sp_report_results){0};
}

bool sp_report_results_is_empty(const sp_report_results *results) {
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++)
        if (json_array_size(results->scores[t]) > 0) return false;
    return true;
}

/* Where a result belongs. */
typedef struct source {
    const char *path, *run; /* the file; the run, or NULL */
    const char *const *runs;
    size_t n_runs;
} source;

static bool lies_in(const char *path, const char *folder) {
    const size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static const char *run_of(const source *owner, const json_t *entry) {
    const char *checkpoint = json_string_value(json_object_get(entry, "checkpoint"));
    for (size_t i = 0; checkpoint != NULL && i < owner->n_runs; i++)
        if (lies_in(checkpoint, owner->runs[i])) return owner->runs[i];
    if (owner->run != NULL) return owner->run;
    return checkpoint != NULL ? checkpoint : owner->path;
}

static json_t *text_or_null(const char *text) {
    json_t *value = text != NULL ? json_string(text) : NULL;
    return value != NULL ? value : json_null();
}

/* The last part of the path that a member is, or null. Owned. */
static json_t *last_part(const json_t *entry, const char *member) {
    const char *path = json_string_value(json_object_get(entry, member));
    size_t n = path != NULL ? strlen(path) : 0;
    while (n > 1 && path[n - 1] == '/') n--;
    const char *slash = n > 0 ? memrchr(path, '/', n - 1) : NULL;
    if (slash == NULL) return n > 0 ? json_stringn(path, n) : json_null();
    return json_stringn(slash + 1, n - (size_t)(slash + 1 - path));
}

/* What was evaluated: the data set, or where there is none, as of a reconstruction, the slot file that was
   read in place of the encoder's slots, or null. Owned. */
static json_t *data_of(const json_t *common, const json_t *entry) {
    const char *data = json_string_value(json_object_get(common, "data"));
    return data != NULL ? text_or_null(data) : last_part(entry, "slots");
}

/* Who a score is of; `common` is the result that holds the entry, or the entry. Owned. */
static json_t *begin_score(const source *owner, const json_t *common, const json_t *entry,
                           size_t task, const char *method) {
    const json_t *named = json_object_get(entry, "method");
    const json_t *ratio = json_object_get(entry, "ratio");
    const char *run = run_of(owner, entry);
    if (run == owner->path && json_object_get(common, "checkpoint") != NULL)
        run = run_of(owner, common);
    return json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:o}", "run", text_or_null(run), "task",
        sp_result_kinds[task].task, "decoder", last_part(entry, "decoder"), "data",
        data_of(common, entry), "method",
        text_or_null(json_is_string(named) ? json_string_value(named) : method), "ratio",
        json_is_number(ratio) ? json_incref(json_object_get(entry, "ratio")) : json_null());
}

static void copy_figures(json_t *score, const json_t *from, size_t task) {
    for (const char *const *key = sp_result_kinds[task].figures; *key != NULL; key++) {
        json_t *value = json_object_get(from, *key);
        if (json_is_number(value)) json_object_set(score, *key, value);
    }
}

static sp_status add_score(sp_report_results *results, const source *owner, const json_t *common,
                           const json_t *entry, size_t task, const char *method) {
    json_t *score = begin_score(owner, common, entry, task, method);
    if (score == NULL) return no_memory();
    if (json_is_string(json_object_get(common, "file")))
        json_object_set_new(score, "file", last_part(common, "file"));
    if (task == SP_RESULT_EFFICIENCY) copy_figures(score, common, task);
    copy_figures(score, entry, task);
    return json_array_append_new(results->scores[task], score) == 0 ? SP_OK : no_memory();
}

static sp_status add_samples(sp_report_results *results, const source *owner, const json_t *common,
                             const json_t *entry, size_t task) {
    json_t *samples = json_object_get(entry, "samples");
    if (json_array_size(samples) == 0) return SP_OK;
    json_t *item = begin_score(owner, common, entry, task, NULL);
    if (item == NULL || json_object_set(item, "samples", samples) != 0) {
        json_decref(item);
        return no_memory();
    }
    /* Whose texts stand in a sample's `compressed`, in their order. */
    json_t *methods = json_object_get(entry, "methods");
    if (methods != NULL) json_object_set(item, "methods", methods);
    return json_array_append_new(results->samples, item) == 0 ? SP_OK : no_memory();
}

static sp_status add_lengths(sp_report_results *results, const source *owner, const json_t *entry) {
    const json_t *lengths = json_object_get(entry, "by_length");
    for (size_t i = 0; i < json_array_size(lengths); i++) {
        const json_t *length = json_array_get(lengths, i);
        json_t *score = begin_score(owner, entry, entry, SP_RESULT_RECONSTRUCTION, "compressed");
        if (score == NULL) return no_memory();
        copy_figures(score, length, SP_RESULT_RECONSTRUCTION);
        static const char *const bounds[] = {"min_tokens", "max_tokens"};
        for (size_t b = 0; b < 2; b++) {
            json_t *bound = json_object_get(length, bounds[b]);
            if (json_is_number(bound)) json_object_set(score, bounds[b], bound);
        }
        if (json_array_append_new(results->lengths, score) != 0) return no_memory();
    }
    return SP_OK;
}

static sp_status add_reconstruction(sp_report_results *results, const source *owner,
                                    const json_t *result) {
    const json_t *ratios = json_object_get(result, "by_ratio");
    const bool has_ratios = json_array_size(ratios) > 0;
    const size_t n = has_ratios ? json_array_size(ratios) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = has_ratios ? json_array_get(ratios, i) : result;
        const bool is_ours = json_object_get(entry, "ratio") != NULL;
        SP_TRY(add_score(results, owner, result, entry, SP_RESULT_RECONSTRUCTION,
                         is_ours ? "compressed" : "predictions"));
        SP_TRY(add_samples(results, owner, result, entry, SP_RESULT_RECONSTRUCTION));
        SP_TRY(add_lengths(results, owner, entry));
    }
    return SP_OK;
}

static sp_status add_efficiency(sp_report_results *results, const source *owner,
                                const json_t *result) {
    const json_t *compressed = json_object_get(result, "compressed");
    const json_t *plain = json_object_get(result, "plain");
    if (json_is_object(plain)) {
        /* The plain decoder is the first checkpoint's. */
        json_t *entry = json_deep_copy(plain);
        json_t *checkpoint = json_object_get(json_array_get(compressed, 0), "checkpoint");
        if (entry != NULL && checkpoint != NULL) json_object_set(entry, "checkpoint", checkpoint);
        const sp_status status =
            entry == NULL ? no_memory()
                          : add_score(results, owner, result, entry, SP_RESULT_EFFICIENCY, "plain");
        json_decref(entry);
        SP_TRY(status);
    }
    for (size_t i = 0; i < json_array_size(compressed); i++)
        SP_TRY(add_score(results, owner, result, json_array_get(compressed, i),
                         SP_RESULT_EFFICIENCY, "compressed"));
    return SP_OK;
}

/* Full and no context are read by the first checkpoint's decoder. */
static const json_t *first_checkpoint(const json_t *methods) {
    for (size_t i = 0; i < json_array_size(methods); i++)
        if (json_object_get(json_array_get(methods, i), "checkpoint") != NULL)
            return json_array_get(methods, i);
    return NULL;
}

static sp_status add_methods(sp_report_results *results, const source *owner, const json_t *result,
                             size_t task) {
    const json_t *methods = json_object_get(result, "methods");
    if (json_array_size(methods) == 0)
        return add_score(results, owner, result, result, task, "predictions");
    const json_t *first = first_checkpoint(methods);
    source of_plain = *owner;
    if (first != NULL) of_plain.run = run_of(owner, first);
    for (size_t i = 0; i < json_array_size(methods); i++)
        SP_TRY(add_score(results, &of_plain, result, json_array_get(methods, i), task, NULL));
    return add_samples(results, &of_plain, result, result, task);
}

/* A row is a reconstruction, and where questions were asked an answering of them, by its name. */
static sp_status add_ablation(sp_report_results *results, const source *owner,
                              const json_t *result) {
    const json_t *row, *methods = json_object_get(result, "methods");
    size_t i;
    json_array_foreach(methods, i, row)
        SP_TRY(add_score(results, owner, result, row, SP_RESULT_QA, NULL));
    json_array_foreach(json_object_get(result, "rows"), i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        SP_TRY(add_score(results, owner, row, row, SP_RESULT_RECONSTRUCTION, name));
        if (json_object_get(row, "f1") == NULL) continue;
        SP_TRY(add_score(results, owner, result, row, SP_RESULT_QA, name));
    }
    return SP_OK;
}

static bool is_ablation(const json_t *result) {
    const char *name = json_string_value(json_object_get(result, "task"));
    return name != NULL && strcmp(name, "ablation") == 0;
}

/* The result's task, or SP_N_RESULT_TASKS: an object without one is a reconstruction if it has its
   figures. */
static size_t task_of(const json_t *result) {
    const char *name = json_string_value(json_object_get(result, "task"));
    if (name == NULL && json_is_number(json_object_get(result, "bleu")))
        return SP_RESULT_RECONSTRUCTION;
    for (size_t t = 0; name != NULL && t < SP_N_RESULT_TASKS; t++)
        if (strcmp(name, sp_result_kinds[t].task) == 0) return t;
    return SP_N_RESULT_TASKS;
}

static sp_status add_result(sp_report_results *results, const source *owner, const json_t *result,
                            size_t *n) {
    const size_t task = task_of(result);
    if (task == SP_N_RESULT_TASKS && !is_ablation(result)) return SP_OK;
    ++*n;
    if (is_ablation(result)) return add_ablation(results, owner, result);
    if (task == SP_RESULT_RECONSTRUCTION) return add_reconstruction(results, owner, result);
    if (task == SP_RESULT_EFFICIENCY) return add_efficiency(results, owner, result);
    return add_methods(results, owner, result, task);
}

static void add_note(sp_report_results *results, const char *path, size_t n) {
    char text[512];
    snprintf(text, sizeof text, "%s: %zu %s no result of `evaluate --json` and left out", path, n,
             n == 1 ? "piece is" : "pieces are");
    json_array_append_new(results->notes, text_or_null(text));
}

/* Objects one after the other; after damage reading goes on at the next line. */
static sp_status add_all(sp_report_results *results, const source *owner, const char *text,
                         size_t n_bytes) {
    size_t n_results = 0, n_left_out = 0;
    sp_status status = SP_OK;
    for (size_t at = 0; status == SP_OK && at < n_bytes;) {
        const size_t n_space = strspn(text + at, " \t\r\n");
        if (n_space > 0 || text[at] == '\0') {
            at += n_space > 0 ? n_space : 1;
            continue;
        }
        json_error_t error;
        json_t *value =
            json_loadb(text + at, n_bytes - at,
                       JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
        const size_t before = n_results;
        if (value != NULL) {
            status = add_result(results, owner, value, &n_results);
            at += (size_t)error.position; /* on success: the bytes that were read */
        } else {
            const char *end = memchr(text + at, '\n', n_bytes - at);
            at = end != NULL ? (size_t)(end - text) + 1 : n_bytes;
        }
        n_left_out += n_results == before;
        json_decref(value);
    }
    SP_TRY(status);
    if (n_results == 0)
        return sp_fail(SP_BAD_DATA, "'%s': no result of `slotpress evaluate ... --json`",
                       owner->path);
    if (n_left_out > 0) add_note(results, owner->path, n_left_out);
    return SP_OK;
}

sp_status sp_report_results_read(sp_report_results *results, const char *path, const char *run,
                                 const char *const *runs, size_t n_runs) {
    const source owner = {.path = path, .run = run, .runs = runs, .n_runs = n_runs};
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    sp_status status = sp_read_all(&text, &n_bytes, file, path);
    fclose(file); /* was only read */
    if (status == SP_OK) status = add_all(results, &owner, text, n_bytes);
    free(text);
    return status;
}

/* The pattern's own characters in a folder's name stand for themselves. */
static char *escape_pattern(const char *folder) {
    char *pattern = malloc(2 * strlen(folder) + 32);
    if (pattern == NULL) return NULL;
    size_t n = 0;
    for (; *folder != '\0'; folder++) {
        if (strchr("\\*?[]", *folder) != NULL) pattern[n++] = '\\';
        pattern[n++] = *folder;
    }
    strcpy(pattern + n, "/evaluate*.json");
    return pattern;
}

sp_status sp_report_results_find(sp_report_results *results, const char *run) {
    char *pattern = escape_pattern(run);
    if (pattern == NULL) return no_memory();
    glob_t found = {0};
    int error = glob(pattern, 0, NULL, &found);
    strcat(pattern, "l");
    if (error == 0 || error == GLOB_NOMATCH) error = glob(pattern, GLOB_APPEND, NULL, &found);
    free(pattern);
    sp_status status = error == 0 || error == GLOB_NOMATCH ? SP_OK : no_memory();
    for (size_t i = 0; status == SP_OK && i < found.gl_pathc; i++) {
        status = sp_report_results_read(results, found.gl_pathv[i], run, NULL, 0);
        if (status != SP_BAD_DATA && status != SP_IO) continue;
        json_array_append_new(results->notes, text_or_null(sp_message()));
        status = SP_OK;
    }
    globfree(&found);
    return status;
}

/* ---- data sets: their names, means over them ---- */

static bool are_told_apart(const json_t *scores) {
    for (size_t i = 0; i < json_array_size(scores); i++) {
        const json_t *a = json_array_get(scores, i);
        for (size_t j = 0; j < i; j++) {
            const json_t *b = json_array_get(scores, j);
            if (json_equal(json_object_get(a, "data"), json_object_get(b, "data")) &&
                !json_equal(json_object_get(a, "file"), json_object_get(b, "file")))
                return false;
        }
    }
    return true;
}

/* Of several data sets in one form, as SQuAD and AdversarialQA are, the files tell. */
static sp_status name_files(json_t *scores) {
    json_t *score;
    size_t i;
    if (are_told_apart(scores)) return SP_OK;
    json_array_foreach(scores, i, score) {
        const char *form = json_string_value(json_object_get(score, "data"));
        const char *file = json_string_value(json_object_get(score, "file"));
        if (form == NULL || file == NULL) continue;
        json_t *named = json_sprintf("%s: %s", form, file);
        if (named == NULL || json_object_set_new(score, "data", named) != 0) return no_memory();
    }
    return SP_OK;
}

static bool is_same_method(const json_t *a, const json_t *b) {
    static const char *const keys[] = {"run", "method", "ratio"};
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        if (!json_equal(json_object_get(a, keys[k]), json_object_get(b, keys[k]))) return false;
    return true;
}

/* The mean of scores [n] of the method of the one at `first`, which is the first of it; NULL if they are
   of one data set, or of one twice. */
static json_t *mean_of(const json_t *scores, size_t n, size_t first) {
    static const char *const keys[] = {"f1", "em"};
    const json_t *model = json_array_get(scores, first);
    double sums[2] = {0};
    size_t n_sets = 0;
    for (size_t i = first; i < n; i++) {
        const json_t *score = json_array_get(scores, i);
        if (!is_same_method(model, score)) continue;
        for (size_t j = first; j < i; j++) {
            const json_t *other = json_array_get(scores, j);
            if (is_same_method(model, other) &&
                json_equal(json_object_get(other, "data"), json_object_get(score, "data")))
                return NULL;
        }
        n_sets++;
        for (size_t k = 0; k < 2; k++)
            sums[k] += json_number_value(json_object_get(score, keys[k]));
    }
    if (n_sets < 2) return NULL;
    char name[48];
    snprintf(name, sizeof name, "mean of %zu", n_sets);
    return json_pack("{s:O, s:O, s:O, s:s, s:O, s:O, s:f, s:f}", "run",
                     json_object_get(model, "run"), "task", json_object_get(model, "task"),
                     "decoder", json_object_get(model, "decoder"), "data", name, "method",
                     json_object_get(model, "method"), "ratio", json_object_get(model, "ratio"),
                     keys[0], sums[0] / (double)n_sets, keys[1], sums[1] / (double)n_sets);
}

sp_status sp_report_results_add_means(sp_report_results *results) {
    json_t *scores = results->scores[SP_RESULT_QA];
    const size_t n = json_array_size(scores);
    SP_TRY(name_files(scores));
    for (size_t i = 0; i < n; i++) {
        bool is_first = true;
        for (size_t j = 0; j < i && is_first; j++)
            is_first = !is_same_method(json_array_get(scores, j), json_array_get(scores, i));
        json_t *mean = is_first ? mean_of(scores, n, i) : NULL;
        if (mean != NULL && json_array_append_new(scores, mean) != 0) return no_memory();
    }
    return SP_OK;
}
