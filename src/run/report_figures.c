#include "run/report_figures.h"

#include "base/memory.h"
#include "run/report_paper.h"
#include "run/report_scores.h"
#include "run/report_script.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sp_figure_color(size_t index) {
    /* Told apart, and legible, on white and on black. */
    static const char *const colors[] = {"#2f7ed8", "#e07b00", "#1b9e77", "#d6477f",
                                         "#8d6fd1", "#8a8a1c", "#1797a6", "#b3593c"};
    return colors[index % (sizeof colors / sizeof colors[0])];
}

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for figures"); }

static void figure_free(sp_report_figure *figure) {
    for (size_t i = 0; i < figure->n_labels; i++) free(figure->labels[i].text);
    free(figure->labels);
    free(figure->name);
    free(figure->title);
    sp_drawing_free(&figure->drawing);
    *figure = (sp_report_figure){0};
}

void sp_report_figures_free(sp_report_figures *figures) {
    for (size_t i = 0; i < figures->n; i++) figure_free(&figures->items[i]);
    free(figures->items);
    free(figures->failure);
    *figures = (sp_report_figures){0};
}

static sp_status add_label(sp_report_figure *figure, const char *text, const char *color) {
    sp_figure_label *grown =
        realloc(figure->labels, (figure->n_labels + 1) * sizeof *figure->labels);
    if (grown == NULL) return no_memory();
    figure->labels = grown;
    char *copy = strdup(text);
    if (copy == NULL) return no_memory();
    figure->labels[figure->n_labels++] = (sp_figure_label){copy, color};
    return SP_OK;
}

/* Takes *figure, also when it fails. A drawing that fails is no failure. */
static sp_status add_figure(sp_report_figures *figures, sp_report_figure *figure,
                            const char *script) {
    bool is_missing = false;
    sp_report_figure *grown = realloc(figures->items, (figures->n + 1) * sizeof *figures->items);
    if (grown == NULL) {
        figure_free(figure);
        return no_memory();
    }
    figures->items = grown;
    if (sp_drawing_make(&figure->drawing, script, &is_missing) == SP_OK) {
        figures->items[figures->n++] = *figure;
        *figure = (sp_report_figure){0};
        return SP_OK;
    }
    if (figures->failure == NULL)
        figures->failure =
            strdup(is_missing ? "plots need gnuplot, which is not installed (Debian: "
                                "gnuplot-nox; conda-forge, Spack: gnuplot)"
                              : sp_message());
    figure_free(figure);
    return figures->failure != NULL ? SP_OK : no_memory();
}

/* Begins a figure whose PNG has that name. */
static sp_status begin_figure(sp_report_figure *figure, const char *name, const char *title,
                              const char *caption) {
    *figure = (sp_report_figure){.name = strdup(name), .title = strdup(title), .caption = caption};
    if (figure->name != NULL && figure->title != NULL) return SP_OK;
    figure_free(figure);
    return no_memory();
}

/* ---- over tokens ---- */

typedef struct curve {
    const char *name, *title, *axis, *caption;
    sp_measure measure, held_out;
} curve;

static const char losses_caption[] = "Line: training; dashed with circles: held out.";

static const curve curves[] = {
    {"loss-reconstruction", "Loss of reconstruction", "nats a token", losses_caption,
     SP_MEASURE_LOSS, SP_MEASURE_VALIDATION_LOSS},
    {"loss-completion", "Loss of completion", "nats a token", losses_caption, SP_MEASURE_LOSS + 1,
     SP_MEASURE_VALIDATION_LOSS + 1},
    {"loss-answer", "Loss of answers", "nats a token", losses_caption, SP_MEASURE_LOSS + 2,
     SP_MEASURE_VALIDATION_LOSS + 2},
    {"learning-rate", "Learning rate", "learning rate", "", SP_MEASURE_LR, SP_N_MEASURES},
    {"gradient-norm", "Gradient norm", "norm before clipping", "", SP_MEASURE_GRAD_NORM,
     SP_N_MEASURES},
    {"throughput", "Throughput", "tokens a second", "", SP_MEASURE_TOKENS_PER_SECOND,
     SP_N_MEASURES},
    {"flops", "Floating-point operations", "FLOP a second", "", SP_MEASURE_FLOPS_PER_SECOND,
     SP_N_MEASURES},
    {"mfu", "MFU", "share of peak", "", SP_MEASURE_MFU, SP_N_MEASURES},
};

static sp_status draw_curve(sp_report_figures *figures, const sp_report_matter *matter,
                            const curve *c) {
    sp_report_figure figure = {0};
    char *script = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&script, &n);
    if (out == NULL) return no_memory();
    const bool has_points = sp_script_curves(out, matter, c->axis, c->measure, c->held_out);
    sp_status status = fclose(out) == 0 ? SP_OK : no_memory();
    if (status == SP_OK && has_points) {
        status = begin_figure(&figure, c->name, c->title, c->caption);
        for (size_t r = 0; status == SP_OK && r < matter->n_runs; r++)
            status = add_label(&figure, matter->runs[r].path, sp_figure_color(r));
        if (status == SP_OK)
            status = add_figure(figures, &figure, script);
        else
            figure_free(&figure);
    }
    free(script);
    return status;
}

/* ---- over ratios ---- */

/* The measure of a task that stands for it in a plot. */
static const char *main_measure(sp_result_task task) {
    static const char *const measures[SP_N_RESULT_TASKS] = {[SP_RESULT_RECONSTRUCTION] =
                                                                "bleu_sentence",
                                                            [SP_RESULT_QA] = "f1",
                                                            [SP_RESULT_ICL] = "accuracy",
                                                            [SP_RESULT_ROLEPLAY] = "perplexity"};
    return measures[task];
}

static const char *measure_title(sp_result_task task) {
    static const char *const titles[SP_N_RESULT_TASKS] = {[SP_RESULT_RECONSTRUCTION] = "BLEU",
                                                          [SP_RESULT_QA] = "F1",
                                                          [SP_RESULT_ICL] = "Accuracy",
                                                          [SP_RESULT_ROLEPLAY] = "Perplexity"};
    return titles[task];
}

/* The paper's marks of the task and data into marks [sp_n_paper_figures]; returns how many. F1 is the
   paper's mean over four data sets whatever the data. */
static size_t find_marks(sp_ratio_mark *marks, sp_result_task task, const char *data) {
    size_t n = 0;
    for (size_t i = 0; i < sp_n_paper_figures; i++) {
        const sp_paper_figure *figure = &sp_paper_figures[i];
        const bool is_of_ours = strncmp(figure->method, "PCC", 3) == 0;
        if (figure->task != task || figure->ratio == 0 || !is_of_ours) continue;
        if (task == SP_RESULT_ICL && strcmp(figure->data, data) != 0) continue;
        marks[n++] = (sp_ratio_mark){(double)figure->ratio, figure->low, figure->high};
    }
    return n;
}

static sp_status draw_ratios(sp_report_figures *figures, const sp_score_lines *scores,
                             sp_result_task task, const char *data) {
    sp_report_figure figure = {0};
    char *script = NULL, name[128], title[256];
    size_t n = 0;
    sp_ratio_mark marks[64];
    const size_t n_marks = sp_n_paper_figures <= 64 ? find_marks(marks, task, data) : 0;
    FILE *out = open_memstream(&script, &n);
    if (out == NULL) return no_memory();
    snprintf(title, sizeof title, "%s by ratio, %s%s%.100s", measure_title(task),
             sp_result_kinds[task].task, *data != '\0' ? ", " : "", data);
    sp_script_title(out, title);
    sp_script_ratios(out, measure_title(task), scores->lines, scores->n, marks, n_marks);
    if (fclose(out) != 0) {
        free(script);
        return no_memory();
    }
    const char *what = sp_result_kinds[task].task;
    snprintf(name, sizeof name, "%s%s%.64s", what, *data != '\0' ? "-" : "", data);
    for (char *c = name; *c != '\0'; c++)
        if (strchr("/ \\:", *c) != NULL || (unsigned char)*c < ' ') *c = '-';
    sp_status status = begin_figure(&figure, name, title,
                                    n_marks > 0 ? "Dashed: not compressed. Grey: the paper's."
                                                : "Dashed: not compressed.");
    figure.is_of_results = true;
    for (size_t l = 0; status == SP_OK && l < scores->n; l++)
        status = add_label(&figure, scores->lines[l].label, scores->lines[l].color);
    if (status == SP_OK && n_marks > 0)
        status = add_label(&figure,
                           task == SP_RESULT_QA ? "the paper's PCC, mean of four data sets"
                                                : "the paper's PCC",
                           "#808080");
    if (status == SP_OK)
        status = add_figure(figures, &figure, script);
    else
        figure_free(&figure);
    free(script);
    return status;
}

static bool has_measure(const json_t *scores, const char *measure) {
    for (size_t i = 0; i < json_array_size(scores); i++)
        if (json_is_number(json_object_get(json_array_get(scores, i), measure))) return true;
    return false;
}

static sp_status draw_task(sp_report_figures *figures, const sp_report_matter *matter,
                           sp_result_task task) {
    const json_t *scores = matter->results->scores[task];
    const char *measure = main_measure(task);
    sp_status status = SP_OK;
    /* Predictions made elsewhere have corpus BLEU alone. */
    if (task == SP_RESULT_RECONSTRUCTION && !has_measure(scores, measure)) measure = "bleu";
    for (size_t i = 0; status == SP_OK && i < json_array_size(scores); i++) {
        const char *data = sp_score_data(json_array_get(scores, i));
        if (sp_scores_first_of(scores, data) != i) continue;
        sp_score_lines lines = {0};
        status = sp_score_lines_find(&lines, matter, scores, data, measure);
        if (status == SP_OK && lines.n > 0) status = draw_ratios(figures, &lines, task, data);
        sp_score_lines_free(&lines);
    }
    return status;
}

/* ---- bars ---- */

static double second(const json_t *score, const char *key) {
    const json_t *value = json_object_get(score, key);
    return json_is_number(value) ? json_number_value(value) : 0;
}

static sp_bar bar_of(const json_t *score, bool has_runs) {
    const char *run = json_string_value(json_object_get(score, "run"));
    const json_t *ratio = json_object_get(score, "ratio");
    sp_bar bar = {.compression = second(score, "compression_s"),
                  .prefill = second(score, "prefill_s"),
                  .decode = second(score, "decode_s")};
    const char *slash = run != NULL ? strrchr(run, '/') : NULL;
    const char *base = slash != NULL ? slash + 1 : run != NULL ? run : "";
    char what[16] = "plain";
    if (json_is_number(ratio)) snprintf(what, sizeof what, "%g×", json_number_value(ratio));
    if (has_runs)
        snprintf(bar.label, sizeof bar.label, "%.12s %s", base, what);
    else
        snprintf(bar.label, sizeof bar.label, "%s", what);
    return bar;
}

static const char bars_title[] = "Seconds of a batch";

static sp_status draw_bars(sp_report_figures *figures, const sp_report_matter *matter) {
    const json_t *scores = matter->results->scores[SP_RESULT_EFFICIENCY];
    const size_t n = json_array_size(scores);
    sp_report_figure figure = {0};
    char *script = NULL;
    size_t n_script = 0;
    void *bars = NULL;
    if (n == 0) return SP_OK;
    SP_TRY(sp_alloc_array(&bars, n, sizeof(sp_bar), "bars"));
    const char *first = json_string_value(json_object_get(json_array_get(scores, 0), "run"));
    bool has_runs = false;
    for (size_t i = 0; i < n; i++) {
        const char *run = json_string_value(json_object_get(json_array_get(scores, i), "run"));
        has_runs = has_runs || (run != NULL && first != NULL && strcmp(run, first) != 0);
    }
    for (size_t i = 0; i < n; i++)
        ((sp_bar *)bars)[i] = bar_of(json_array_get(scores, i), has_runs);
    FILE *out = open_memstream(&script, &n_script);
    if (out != NULL) {
        sp_script_title(out, bars_title);
        sp_script_bars(out, "seconds", bars, n);
    }
    sp_status status = out != NULL && fclose(out) == 0 ? SP_OK : no_memory();
    static const char *const phases[] = {"compression", "prefill", "decode"};
    if (status == SP_OK)
        status = begin_figure(&figure, "efficiency", bars_title, "Plain: without compression.");
    figure.is_of_results = true;
    for (size_t p = 0; status == SP_OK && p < 3; p++)
        status = add_label(&figure, phases[p], sp_figure_color(p));
    if (status == SP_OK)
        status = add_figure(figures, &figure, script);
    else
        figure_free(&figure);
    free(script);
    free(bars);
    return status;
}

sp_status sp_report_figures_draw(sp_report_figures *figures, const sp_report_matter *matter) {
    for (size_t c = 0; c < sizeof curves / sizeof curves[0]; c++)
        SP_TRY(draw_curve(figures, matter, &curves[c]));
    for (size_t t = 0; t < SP_RESULT_EFFICIENCY; t++)
        SP_TRY(draw_task(figures, matter, (sp_result_task)t));
    return draw_bars(figures, matter);
}
