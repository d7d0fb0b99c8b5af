#include "run/report_scores.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *score, const char *key) {
    const char *text = json_string_value(json_object_get(score, key));
    return text != NULL ? text : "";
}

const char *sp_score_data(const json_t *score) { return text_of(score, "data"); }

size_t sp_scores_first_of(const json_t *scores, const char *data) {
    for (size_t i = 0; i < json_array_size(scores); i++)
        if (strcmp(sp_score_data(json_array_get(scores, i)), data) == 0) return i;
    return json_array_size(scores);
}

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for scores"); }

/* The line of that label, or a new one. NULL: no memory. */
static sp_ratio_line *line_of(sp_score_lines *lines, const char *label, bool is_level) {
    for (size_t l = 0; l < lines->n; l++)
        if ((lines->lines[l].ratios == NULL) == is_level &&
            strcmp(lines->lines[l].label, label) == 0)
            return &lines->lines[l];
    sp_ratio_line *grown = realloc(lines->lines, (lines->n + 1) * sizeof *lines->lines);
    if (grown == NULL) return NULL;
    lines->lines = grown;
    char *copy = strdup(label);
    if (copy == NULL) return NULL;
    lines->lines[lines->n] = (sp_ratio_line){.label = copy};
    return &lines->lines[lines->n++];
}

/* Puts a point in its place; one of the same ratio stands beside it. */
static sp_status insert(sp_ratio_line *line, bool has_ratio, double ratio, double value) {
    double *values = realloc((double *)line->values, (line->n + 1) * sizeof *values);
    if (values == NULL) return no_memory();
    line->values = values;
    if (!has_ratio) {
        values[0] = value; /* a later result of the same name wins */
        line->n = 1;
        return SP_OK;
    }
    double *ratios = realloc((double *)line->ratios, (line->n + 1) * sizeof *ratios);
    if (ratios == NULL) return no_memory();
    line->ratios = ratios;
    size_t at = line->n++;
    for (; at > 0 && ratios[at - 1] > ratio; at--) {
        ratios[at] = ratios[at - 1];
        values[at] = values[at - 1];
    }
    ratios[at] = ratio;
    values[at] = value;
    return SP_OK;
}

/* A run's own colour, or one that none has. */
static const char *color_of(const sp_report_matter *matter, const char *run, bool is_level,
                            size_t line) {
    for (size_t r = 0; !is_level && r < matter->n_runs; r++)
        if (strcmp(matter->runs[r].path, run) == 0) return sp_figure_color(r);
    return sp_figure_color(matter->n_runs + line);
}

static sp_status add_score(sp_score_lines *lines, const sp_report_matter *matter,
                           const json_t *score, double value) {
    const json_t *ratio = json_object_get(score, "ratio");
    const bool has_ratio = json_is_number(ratio) && json_number_value(ratio) > 0;
    const char *run = text_of(score, "run"), *method = text_of(score, "method");
    char *label = NULL;
    const int n = has_ratio ? asprintf(&label, "%s", run) : asprintf(&label, "%s, %s", run, method);
    if (n < 0) return no_memory();
    sp_ratio_line *line = line_of(lines, label, !has_ratio);
    free(label);
    if (line == NULL) return no_memory();
    if (line->n == 0)
        line->color = color_of(matter, run, !has_ratio, (size_t)(line - lines->lines));
    return insert(line, has_ratio, has_ratio ? json_number_value(ratio) : 0, value);
}

sp_status sp_score_lines_find(sp_score_lines *lines, const sp_report_matter *matter,
                              const json_t *scores, const char *data, const char *measure) {
    for (size_t i = 0; i < json_array_size(scores); i++) {
        const json_t *score = json_array_get(scores, i);
        const json_t *value = json_object_get(score, measure);
        if (!json_is_number(value) || strcmp(sp_score_data(score), data) != 0) continue;
        SP_TRY(add_score(lines, matter, score, json_number_value(value)));
    }
    return SP_OK;
}

void sp_score_lines_free(sp_score_lines *lines) {
    for (size_t l = 0; l < lines->n; l++) {
        free((char *)lines->lines[l].label);
        free((double *)lines->lines[l].ratios);
        free((double *)lines->lines[l].values);
    }
    free(lines->lines);
    *lines = (sp_score_lines){0};
}
