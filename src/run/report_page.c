#include "run/report_page.h"

#include "run/report_config.h"
#include "run/report_html.h"
#include "run/report_paper.h"
#include "run/report_samples.h"

#include <math.h>
#include <string.h>

static void write_notes(FILE *out, const char *of, const json_t *notes) {
    for (size_t i = 0; i < json_array_size(notes); i++) {
        fputs("<p class=note>", out);
        sp_html_string(out, of);
        if (of != NULL) fputs(": ", out);
        sp_html_value(out, json_array_get(notes, i));
        fputs("</p>\n", out);
    }
}

static void write_head(FILE *out) {
    /* The policy makes the page's promise the browser's: nothing is loaded, nothing runs. */
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
            "style-src 'unsafe-inline'\">\n<title>slotpress report</title>\n<style>\n%s</style>\n"
            "</head>\n<body>\n<h1>slotpress report</h1>\n",
            sp_html_style);
}

static void write_swatch(FILE *out, const char *color, const char *text) {
    fprintf(out, "<span class=label><span class=swatch style=\"background:%s\"></span>", color);
    sp_html_string(out, text);
    fputs("</span>", out);
}

/* ---- the runs in short ---- */

static void write_number(FILE *out, double value, const char *unit) {
    static const char *const prefixes[] = {"", " K", " M", " G", " T", " P", " E"};
    size_t prefix = 0;
    if (!isfinite(value)) return;
    if (*unit != '\0')
        for (; fabs(value) >= 1000 && prefix + 1 < sizeof prefixes / sizeof prefixes[0]; prefix++)
            value /= 1000;
    fprintf(out, "%.4g%s%s", value, *unit != '\0' ? prefixes[prefix] : "",
            prefix == 0 && *unit != '\0' ? " " : "");
    fputs(unit, out);
}

static void write_duration(FILE *out, double seconds) {
    if (seconds < 120)
        fprintf(out, "%.3g s", seconds);
    else if (seconds < 7200)
        fprintf(out, "%.3g min", seconds / 60);
    else
        fprintf(out, "%.4g h", seconds / 3600);
}

typedef enum row {
    ROW_STEPS,
    ROW_CHECKPOINT,
    ROW_TOKENS,
    ROW_TIME,
    ROW_THROUGHPUT,
    ROW_FLOPS,
    ROW_MFU,
    ROW_SKIPPED,
    ROW_LOSSES, /* three; then the last and the least on held-out text, three each */
    ROW_LAST_HELD_OUT = ROW_LOSSES + 3,
    ROW_LEAST_HELD_OUT = ROW_LAST_HELD_OUT + 3,
    N_ROWS = ROW_LEAST_HELD_OUT + 3
} row;

static const char *const row_titles[N_ROWS] = {
    "steps",
    "newest checkpoint",
    "tokens of contexts",
    "time in steps",
    "tokens a second, mean",
    "FLOP a second, mean",
    "MFU, mean",
    "steps without an update",
    "loss of reconstruction, first → last",
    "loss of completion, first → last",
    "loss of answers, first → last",
    "held out, reconstruction: last",
    "held out, completion: last",
    "held out, answers: last",
    "held out, reconstruction: least",
    "held out, completion: least",
    "held out, answers: least",
};

/* Whether the row says anything of the run. */
static bool has_row(const sp_report_run *run, size_t r) {
    const bool has_time = run->seconds > 0;
    if (r >= ROW_LEAST_HELD_OUT) return isfinite(run->least_held_out[r - ROW_LEAST_HELD_OUT]);
    if (r >= ROW_LAST_HELD_OUT) return isfinite(run->last_held_out[r - ROW_LAST_HELD_OUT]);
    if (r >= ROW_LOSSES) return isfinite(run->last_loss[r - ROW_LOSSES]);
    switch ((row)r) {
    case ROW_STEPS:
    case ROW_TOKENS:
        return run->has_metrics;
    case ROW_CHECKPOINT:
        return run->has_checkpoint;
    case ROW_TIME:
    case ROW_THROUGHPUT:
        return has_time;
    case ROW_FLOPS:
        return has_time && run->flop > 0;
    case ROW_MFU:
        return run->most_flop > 0;
    default:
        return run->n_skipped > 0;
    }
}

static void write_steps(FILE *out, const sp_report_run *run) {
    const json_t *steps = json_object_get(json_object_get(run->config, "train"), "steps");
    fprintf(out, "%llu", (unsigned long long)run->last_step);
    if (json_is_integer(steps)) fprintf(out, " of %lld", (long long)json_integer_value(steps));
}

static void write_cell(FILE *out, const sp_report_run *run, size_t r) {
    if (r >= ROW_LEAST_HELD_OUT) {
        const size_t i = r - ROW_LEAST_HELD_OUT;
        fprintf(out, "%.4f (step %llu)", run->least_held_out[i],
                (unsigned long long)run->least_step[i]);
        return;
    }
    if (r >= ROW_LAST_HELD_OUT) {
        fprintf(out, "%.4f", run->last_held_out[r - ROW_LAST_HELD_OUT]);
        return;
    }
    if (r >= ROW_LOSSES) {
        fprintf(out, "%.4f → %.4f", run->first_loss[r - ROW_LOSSES],
                run->last_loss[r - ROW_LOSSES]);
        return;
    }
    switch ((row)r) {
    case ROW_STEPS:
        write_steps(out, run);
        return;
    case ROW_CHECKPOINT:
        fprintf(out, "step %llu", (unsigned long long)run->checkpoint_step);
        return;
    case ROW_TOKENS:
        fprintf(out, "%llu", (unsigned long long)run->n_tokens);
        return;
    case ROW_TIME:
        write_duration(out, run->seconds);
        return;
    case ROW_THROUGHPUT:
        fprintf(out, "%.4g", (double)run->n_tokens / run->seconds);
        return;
    case ROW_FLOPS:
        write_number(out, run->flop / run->seconds, "FLOP/s");
        return;
    case ROW_MFU:
        fprintf(out, "%.1f %%", 100 * run->known_flop / run->most_flop);
        return;
    default:
        fprintf(out, "%llu", (unsigned long long)run->n_skipped);
    }
}

static void write_summary(FILE *out, const sp_report_matter *matter) {
    fputs("<h2>Runs</h2>\n<div class=wide><table>\n<tr><th></th>", out);
    for (size_t i = 0; i < matter->n_runs; i++) {
        fputs("<th class=run>", out);
        write_swatch(out, sp_figure_color(i), matter->runs[i].path);
        fputs("</th>", out);
    }
    fputs("</tr>\n", out);
    for (size_t r = 0; r < N_ROWS; r++) {
        bool is_there = false;
        for (size_t i = 0; i < matter->n_runs; i++)
            is_there = is_there || has_row(&matter->runs[i], r);
        if (!is_there) continue;
        fprintf(out, "<tr><td>%s</td>", row_titles[r]);
        for (size_t i = 0; i < matter->n_runs; i++) {
            fputs("<td>", out);
            if (has_row(&matter->runs[i], r)) write_cell(out, &matter->runs[i], r);
            fputs("</td>", out);
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
    bool has_mfu = false;
    for (size_t i = 0; i < matter->n_runs; i++)
        has_mfu = has_mfu || has_row(&matter->runs[i], ROW_MFU);
    if (matter->peak > 0) {
        fputs("<p class=soft>MFU: share of a peak of ", out);
        write_number(out, matter->peak, "FLOP/s");
        fputs(" of all ranks together.</p>\n", out);
    } else if (has_mfu) {
        fputs("<p class=soft>MFU: share of what the ranks' products of matrices reached together "
              "when "
              "the run began or went on, measured; <code>--peak FLOPS</code> names another "
              "peak.</p>\n",
              out);
    } else {
        fputs(
            "<p class=soft>MFU is not shown, as the peak is not known: name it with "
            "<code>--peak FLOPS</code>, that of all ranks together, or <code>--peak native</code> "
            "for this machine's.</p>\n",
            out);
    }
}

/* ---- figures ---- */

static void write_figure(FILE *out, const sp_report_figure *figure) {
    fputs("<figure><h3>", out);
    sp_html_string(out, figure->title);
    fprintf(out, "</h3>\n<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"", (int)SP_DRAWING_WIDTH,
            (int)SP_DRAWING_HEIGHT);
    sp_html_string(out, figure->title);
    fprintf(out, "\">\n%s</svg>\n<figcaption>", figure->drawing.svg);
    for (size_t i = 0; i < figure->n_labels; i++)
        write_swatch(out, figure->labels[i].color, figure->labels[i].text);
    if (*figure->caption != '\0') fprintf(out, "<br>%s", figure->caption);
    fputs("</figcaption></figure>\n", out);
}

static void write_figures(FILE *out, const sp_report_figures *figures, bool is_of_results) {
    fputs("<div class=plots>\n", out);
    for (size_t i = 0; i < figures->n; i++)
        if (figures->items[i].is_of_results == is_of_results) write_figure(out, &figures->items[i]);
    fputs("</div>\n", out);
}

/* Drawings refer to the shapes of points, which are the same in all. */
static void write_definitions(FILE *out, const sp_report_figures *figures) {
    if (figures->n == 0) return;
    fprintf(out,
            "<svg width=0 height=0 style=\"position:absolute\" aria-hidden=true><defs>\n%s"
            "</defs></svg>\n",
            figures->items[0].drawing.definitions);
}

/* ---- scores ---- */

static bool has_figure(const json_t *scores, const char *key) {
    for (size_t i = 0; i < json_array_size(scores); i++)
        if (json_object_get(json_array_get(scores, i), key) != NULL) return true;
    return false;
}

/* Columns: what any score has, and what the paper has. */
static bool has_column(const json_t *scores, const sp_result_kind *kind, const char *key) {
    for (size_t i = 0; i < sp_n_paper_figures; i++)
        if (&sp_result_kinds[sp_paper_figures[i].task] == kind &&
            strcmp(sp_paper_figures[i].measure, key) == 0)
            return true;
    return has_figure(scores, key);
}

static void write_ratio(FILE *out, const json_t *ratio) {
    fputs("<td class=n>", out);
    if (json_is_number(ratio)) fprintf(out, "%g×", json_number_value(ratio));
    fputs("</td>", out);
}

static void write_score(FILE *out, const json_t *score, const json_t *scores,
                        const sp_result_kind *kind) {
    static const char *const who[] = {"run", "data", "method"};
    fputs("<tr>", out);
    for (size_t i = 0; i < sizeof who / sizeof who[0]; i++) {
        fputs("<td>", out);
        sp_html_value(out, json_object_get(score, who[i]));
        fputs("</td>", out);
    }
    write_ratio(out, json_object_get(score, "ratio"));
    for (const char *const *key = kind->figures; *key != NULL; key++) {
        if (!has_column(scores, kind, *key)) continue;
        fputs("<td class=n>", out);
        sp_html_value(out, json_object_get(score, *key));
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

static void write_paper_figure(FILE *out, const sp_paper_figure *figure, const json_t *scores,
                               const sp_result_kind *kind) {
    fprintf(out, "<tr class=paper><td>the paper</td><td>%s</td><td>%s</td><td class=n>",
            figure->data, figure->method);
    if (figure->ratio > 0) fprintf(out, "%zu×", figure->ratio);
    fputs("</td>", out);
    for (const char *const *key = kind->figures; *key != NULL; key++) {
        if (!has_column(scores, kind, *key)) continue;
        fputs("<td class=n>", out);
        if (strcmp(*key, figure->measure) == 0) {
            fprintf(out, "%s%g", figure->is_about ? "≈ " : "", figure->low);
            if (figure->high > figure->low) fprintf(out, "–%g", figure->high);
        }
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

static void write_scores(FILE *out, const json_t *scores, size_t task) {
    const sp_result_kind *kind = &sp_result_kinds[task];
    if (json_array_size(scores) == 0) return;
    fprintf(out,
            "<h3>%s</h3>\n<div class=wide><table>\n<tr><th>run</th><th>data</th><th>method</th>"
            "<th class=n>ratio</th>",
            kind->title);
    for (const char *const *key = kind->figures; *key != NULL; key++)
        if (has_column(scores, kind, *key)) fprintf(out, "<th class=n>%s</th>", *key);
    fputs("</tr>\n", out);
    for (size_t i = 0; i < json_array_size(scores); i++)
        write_score(out, json_array_get(scores, i), scores, kind);
    for (size_t i = 0; i < sp_n_paper_figures; i++)
        if (sp_paper_figures[i].task == task)
            write_paper_figure(out, &sp_paper_figures[i], scores, kind);
    fprintf(out, "</table></div>\n<p class=soft>%s</p>\n", sp_paper_remark((sp_result_task)task));
}

static void write_lengths(FILE *out, const json_t *lengths) {
    static const char *const keys[] = {"run",  "ratio",   "min_tokens",  "max_tokens", "segments",
                                       "bleu", "rouge_l", "exact_match", "perplexity"};
    enum { N_KEYS = sizeof keys / sizeof keys[0] };
    if (json_array_size(lengths) == 0) return;
    fputs("<details><summary>Reconstruction by segment length</summary><div class=wide>"
          "<table>\n<tr>",
          out);
    for (size_t k = 0; k < N_KEYS; k++)
        fprintf(out, "<th%s>%s</th>", k > 0 ? " class=n" : "", keys[k]);
    fputs("</tr>\n", out);
    for (size_t i = 0; i < json_array_size(lengths); i++) {
        fputs("<tr>", out);
        for (size_t k = 0; k < N_KEYS; k++) {
            fprintf(out, "<td%s>", k > 0 ? " class=n" : "");
            sp_html_value(out, json_object_get(json_array_get(lengths, i), keys[k]));
            fputs("</td>", out);
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div></details>\n", out);
}

static void write_evaluation(FILE *out, const sp_report_matter *matter,
                             const sp_report_figures *figures) {
    fputs("<h2>Evaluation</h2>\n", out);
    if (sp_report_results_is_empty(matter->results)) {
        fputs("<p class=soft>No results: put what <code>slotpress evaluate ... --json</code> "
              "prints into <code>RUN/evaluate-….json</code>, or name the files with "
              "<code>--results FILE</code>.</p>\n",
              out);
        return;
    }
    write_figures(out, figures, true);
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++) write_scores(out, matter->results->scores[t], t);
    write_lengths(out, matter->results->lengths);
}

sp_status sp_report_page(FILE *out, const sp_report_matter *matter,
                         const sp_report_figures *figures) {
    write_head(out);
    for (size_t i = 0; i < matter->n_runs; i++)
        write_notes(out, matter->runs[i].path, matter->runs[i].notes);
    write_notes(out, NULL, matter->results->notes);
    if (figures->failure != NULL) {
        fputs("<p class=note>", out);
        sp_html_string(out, figures->failure);
        fputs("</p>\n", out);
    }
    write_definitions(out, figures);
    if (matter->n_runs > 0) write_summary(out, matter);
    if (figures->n > 0 && !figures->items[0].is_of_results) {
        fputs("<h2>Training</h2>\n", out);
        write_figures(out, figures, false);
    }
    write_evaluation(out, matter, figures);
    SP_TRY(sp_report_samples(out, matter->results));
    sp_report_config(out, matter);
    fputs("</body>\n</html>\n", out);
    return SP_OK;
}
