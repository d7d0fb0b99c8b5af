#include "run/report_script.h"

#include <math.h>
#include <string.h>

enum { FEW_POINTS = 60, MANY_POINTS = 200, LABEL_BYTES = 60 };

void sp_script_text(FILE *out, const char *text, size_t most) {
    size_t n = strlen(text);
    if (n > most) {
        text += n - most;
        n = most;
        while (n > 0 && ((unsigned char)*text & 0xC0) == 0x80) text++, n--; /* a character's rest */
        fputs("'…", out);
    } else {
        fputc('\'', out);
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        fputc(c < ' ' || c == '\'' || c == '"' || c == '`' || c == '\\' ? '_' : (int)c, out);
    }
    fputc('\'', out);
}

void sp_script_title(FILE *out, const char *title) {
    fputs("if (is_png) {set title ", out);
    sp_script_text(out, title, LABEL_BYTES);
    fputs("}\n", out);
}

/* So that axes have short numbers. */
typedef struct unit {
    double size;
    const char *name;
} unit;

static unit unit_of(double most) {
    static const unit units[] = {{1e12, " (T)"}, {1e9, " (G)"}, {1e6, " (M)"}, {1e3, " (K)"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (most >= 2 * units[i].size) return units[i];
    return (unit){1, ""};
}

static void write_points(FILE *out, char kind, size_t run, const sp_series *series, double width,
                         double scale) {
    fprintf(out, "$%c%zu << EOD\n", kind, run);
    for (size_t b = 0; b < series->n_buckets; b++) {
        sp_point points[SP_SERIES_BUCKET_POINTS];
        const size_t n = sp_series_points(&series->buckets[b], points);
        for (size_t i = 0; i < n; i++)
            fprintf(out, "%.9g %.9g\n", points[i].x / width, points[i].y * scale);
    }
    fprintf(out, "EOD\n");
}

/* Means over four buckets each: the course below the noise. */
static void write_means(FILE *out, size_t run, const sp_series *series, double width,
                        double scale) {
    enum { TOGETHER = 4 };
    fprintf(out, "$m%zu << EOD\n", run);
    for (size_t b = 0; b < series->n_buckets; b += TOGETHER) {
        double x = 0, y = 0, n = 0;
        for (size_t i = b; i < series->n_buckets && i < b + TOGETHER; i++) {
            x += series->buckets[i].sum_x;
            y += series->buckets[i].sum_y;
            n += (double)series->buckets[i].n;
        }
        fprintf(out, "%.9g %.9g\n", x / n / width, y / n * scale);
    }
    fprintf(out, "EOD\n");
}

typedef struct extent {
    double most_x, least_y, most_y;
} extent;

static void widen(extent *e, const sp_series *series) {
    for (size_t b = 0; b < series->n_buckets; b++) {
        e->most_x = fmax(e->most_x, series->buckets[b].last.x);
        e->least_y = fmin(e->least_y, series->buckets[b].least.y);
        e->most_y = fmax(e->most_y, series->buckets[b].greatest.y);
    }
}

static void write_axes(FILE *out, const extent *e, const char *title, const char *x_unit,
                       const char *y_unit, bool can_be_log) {
    const double wide = 20; /* times: beyond, the small ones lie on the axis */
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s", title, y_unit);
    fprintf(out, "set xlabel 'tokens%s'\nset ylabel ", x_unit);
    sp_script_text(out, whole, sizeof whole);
    fprintf(out, "\nset xrange [0:*]\n");
    if (can_be_log && e->least_y > 0 && e->most_y > wide * e->least_y)
        fprintf(out, "set logscale y\n");
    /* What does not move is drawn in the middle, without a warning. */
    if (!(e->most_y > e->least_y)) {
        const double half = e->most_y > 0 || e->most_y < 0 ? fabs(e->most_y) / 2 : 1;
        fprintf(out, "set yrange [%g:%g]\n", e->least_y - half, e->most_y + half);
    }
}

static void plot_run(FILE *out, const sp_report_run *run, size_t r, sp_measure measure,
                     sp_measure held_out, const char **joint) {
    const sp_series *trained = &run->series[measure];
    const char *color = sp_figure_color(r);
    const bool is_noisy = trained->n_points > MANY_POINTS;
    if (trained->n_points > 0) {
        fprintf(out, "%s$t%zu with %s linecolor rgb '#%s%s' linewidth 1 pointtype 7 pointsize 0.3 ",
                *joint, r, trained->n_points <= FEW_POINTS ? "linespoints" : "lines",
                is_noisy ? "A0" : "", color + 1);
        fprintf(out, is_noisy ? "notitle" : "title ");
        if (is_noisy) {
            fprintf(out, ", $m%zu with lines linecolor rgb '%s' linewidth 1.5 title ", r, color);
        }
        sp_script_text(out, run->path, LABEL_BYTES);
        *joint = ", ";
    }
    if (held_out == SP_N_MEASURES || run->series[held_out].n_points == 0) return;
    fprintf(out,
            "%s$v%zu with linespoints linecolor rgb '%s' linewidth 2 dashtype 2 pointtype 6 "
            "pointsize 0.6 title ",
            *joint, r, color);
    char label[LABEL_BYTES + 16];
    const size_t n = strlen(run->path), skipped = n > LABEL_BYTES ? n - LABEL_BYTES : 0;
    snprintf(label, sizeof label, "%s, held out", run->path + skipped);
    sp_script_text(out, label, sizeof label);
    *joint = ", ";
}

bool sp_script_curves(FILE *out, const sp_report_matter *matter, const char *title,
                      sp_measure measure, sp_measure held_out) {
    extent e = {0, (double)INFINITY, -(double)INFINITY};
    for (size_t r = 0; r < matter->n_runs; r++) {
        widen(&e, &matter->runs[r].series[measure]);
        if (held_out != SP_N_MEASURES) widen(&e, &matter->runs[r].series[held_out]);
    }
    if (!(e.least_y <= e.most_y)) return false;
    const unit x = unit_of(e.most_x), y = unit_of(e.most_y);
    for (size_t r = 0; r < matter->n_runs; r++) {
        const sp_series *series = matter->runs[r].series;
        write_points(out, 't', r, &series[measure], x.size, 1 / y.size);
        if (series[measure].n_points > MANY_POINTS)
            write_means(out, r, &series[measure], x.size, 1 / y.size);
        if (held_out != SP_N_MEASURES)
            write_points(out, 'v', r, &series[held_out], x.size, 1 / y.size);
    }
    e.least_y /= y.size;
    e.most_y /= y.size;
    write_axes(out, &e, title, x.name, y.name, measure == SP_MEASURE_GRAD_NORM);
    const char *joint = "plot ";
    for (size_t r = 0; r < matter->n_runs; r++)
        plot_run(out, &matter->runs[r], r, measure, held_out, &joint);
    fprintf(out, "\n");
    return true;
}

/* ---- over ratios ---- */

static void widen_ratios(double *least, double *most, double ratio) {
    *least = fmin(*least, ratio);
    *most = fmax(*most, ratio);
}

static void write_ratio_data(FILE *out, size_t index, const sp_ratio_line *line, double least,
                             double most) {
    fprintf(out, "$d%zu << EOD\n", index);
    if (line->ratios == NULL)
        fprintf(out, "%.9g %.9g\n%.9g %.9g\n", least, line->values[0], most, line->values[0]);
    for (size_t i = 0; line->ratios != NULL && i < line->n; i++)
        fprintf(out, "%.9g %.9g\n", line->ratios[i], line->values[i]);
    fprintf(out, "EOD\n");
}

/* A tic at each ratio that there is. */
static void write_ratio_tics(FILE *out, const sp_ratio_line *lines, size_t n_lines,
                             const sp_ratio_mark *marks, size_t n_marks) {
    fprintf(out, "set xtics (");
    const char *joint = "";
    for (size_t l = 0; l < n_lines; l++) {
        for (size_t i = 0; lines[l].ratios != NULL && i < lines[l].n; i++, joint = ", ")
            fprintf(out, "%s'%g×' %g", joint, lines[l].ratios[i], lines[l].ratios[i]);
    }
    for (size_t i = 0; i < n_marks; i++, joint = ", ")
        fprintf(out, "%s'%g×' %g", joint, marks[i].ratio, marks[i].ratio);
    fprintf(out, ")\n");
}

void sp_script_ratios(FILE *out, const char *title, const sp_ratio_line *lines, size_t n_lines,
                      const sp_ratio_mark *marks, size_t n_marks) {
    const double margin = 1.6; /* beside the outermost ratios, as a factor */
    double least = (double)INFINITY, most = 0;
    for (size_t l = 0; l < n_lines; l++)
        for (size_t i = 0; lines[l].ratios != NULL && i < lines[l].n; i++)
            widen_ratios(&least, &most, lines[l].ratios[i]);
    for (size_t i = 0; i < n_marks; i++) widen_ratios(&least, &most, marks[i].ratio);
    if (!(least <= most)) least = most = 1;
    least /= margin;
    most *= margin;
    for (size_t l = 0; l < n_lines; l++) write_ratio_data(out, l, &lines[l], least, most);
    fprintf(out, "$paper << EOD\n");
    for (size_t i = 0; i < n_marks; i++)
        fprintf(out, "%.9g %.9g %.9g %.9g\n", marks[i].ratio, (marks[i].low + marks[i].high) / 2,
                marks[i].low, marks[i].high);
    fprintf(out, "EOD\nset xlabel 'ratio'\nset ylabel ");
    sp_script_text(out, title, LABEL_BYTES);
    fprintf(out, "\nset logscale x 2\nset xrange [%.9g:%.9g]\nset yrange [0:*]\n", least, most);
    write_ratio_tics(out, lines, n_lines, marks, n_marks);
    const char *joint = "plot ";
    for (size_t l = 0; l < n_lines; l++, joint = ", ") {
        fprintf(out, "%s$d%zu with %s linecolor rgb '%s' linewidth 1.5 %s title ", joint, l,
                lines[l].ratios == NULL ? "lines" : "linespoints", lines[l].color,
                lines[l].ratios == NULL ? "dashtype 2" : "pointtype 7 pointsize 0.7");
        sp_script_text(out, lines[l].label, LABEL_BYTES);
    }
    if (n_marks > 0)
        fprintf(out,
                "%s$paper using 1:2:3:4 with yerrorbars linecolor rgb '#808080' linewidth 1.5 "
                "pointtype 13 pointsize 1.2 title 'the paper'",
                joint);
    fprintf(out, "\n");
}

void sp_script_bars(FILE *out, const char *title, const sp_bar *bars, size_t n) {
    const size_t most_upright = 5; /* labels that have room side by side */
    fprintf(out, "$d << EOD\n");
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "\"");
        for (const char *c = bars[i].label; *c != '\0'; c++)
            fputc((unsigned char)*c < ' ' || strchr("\"'`\\", *c) != NULL ? '_' : *c, out);
        fprintf(out, "\" %.9g %.9g %.9g\n", bars[i].compression, bars[i].prefill, bars[i].decode);
    }
    fprintf(out,
            "EOD\nset ylabel '%s'\nset style data histograms\nset style histogram rowstacked\n"
            "set style fill solid 0.9 noborder\nset boxwidth 0.7\nset yrange [0:*]\n"
            "set xtics rotate by %d %s\n"
            "plot $d using 2:xtic(1) linecolor rgb '%s' title 'compression', "
            "$d using 3 linecolor rgb '%s' title 'prefill', "
            "$d using 4 linecolor rgb '%s' title 'decode'\n",
            title, n > most_upright ? -35 : 0, n > most_upright ? "left" : "", sp_figure_color(0),
            sp_figure_color(1), sp_figure_color(2));
}
