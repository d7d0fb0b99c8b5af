#include "run/report_csv.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 64 };

/* Keys of figures, each once; tokens have a column already. */
typedef struct columns {
    const char *keys[MOST_COLUMNS];
    size_t n;
} columns;

static bool has_key(const columns *found, const char *key) {
    for (size_t i = 0; i < found->n; i++)
        if (strcmp(found->keys[i], key) == 0) return true;
    return false;
}

static columns figure_columns(void) {
    columns all = {.keys = {"ratio", "min_tokens", "max_tokens"}, .n = 3};
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++)
        for (const char *const *key = sp_result_kinds[t].figures; *key != NULL; key++)
            if (!has_key(&all, *key) && strcmp(*key, "tokens") != 0 && all.n < MOST_COLUMNS)
                all.keys[all.n++] = *key;
    return all;
}

static void write_text(FILE *out, const char *text) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

/* The shortest of the forms that read back to the same number. */
static void write_number(FILE *out, double value) {
    char text[32];
    if (!isfinite(value)) return;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        const double read = strtod(text, NULL);
        if (!(read < value) && !(read > value)) break;
    }
    fputs(text, out);
}

static void write_value(FILE *out, const json_t *value) {
    if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        write_number(out, json_real_value(value));
}

static void write_header(FILE *out, const columns *figures) {
    fputs("run,kind,step,tokens,skipped", out);
    for (size_t m = 0; m < SP_N_MEASURES; m++) fprintf(out, ",%s", sp_measure_keys[m]);
    fputs(",task,decoder,data,method", out);
    for (size_t i = 0; i < figures->n; i++) fprintf(out, ",%s", figures->keys[i]);
    fputc('\n', out);
}

static void write_line(FILE *out, const char *run, const sp_metrics_line *line, size_t n_empty) {
    write_text(out, run);
    fprintf(out, ",%s,%llu,%llu,%s", line->is_validation ? "validation" : "train",
            (unsigned long long)line->step, (unsigned long long)line->tokens,
            line->is_validation ? ""
            : line->is_skipped  ? "1"
                                : "0");
    for (size_t m = 0; m < SP_N_MEASURES; m++) {
        fputc(',', out);
        write_number(out, line->values[m]);
    }
    fputs(",,,,", out);
    for (size_t i = 0; i < n_empty; i++) fputc(',', out);
    fputc('\n', out);
}

static sp_status write_run(FILE *out, const sp_report_run *run, double peak, size_t n_empty) {
    sp_metrics_reader *reader = NULL;
    sp_status status = SP_OK;
    SP_TRY(sp_metrics_reader_open(&reader, run->path));
    if (reader == NULL) return SP_OK;
    for (;;) {
        sp_metrics_line line;
        bool is_end = false;
        status = sp_metrics_reader_next(reader, &line, &is_end);
        if (status != SP_OK || is_end) break;
        if (peak > 0) sp_metrics_line_use_peak(&line, peak);
        write_line(out, run->path, &line, n_empty);
    }
    sp_metrics_reader_close(reader);
    return status;
}

static void write_score(FILE *out, const json_t *score, const columns *figures) {
    static const char *const texts[] = {"task", "decoder", "data", "method"};
    const char *run = json_string_value(json_object_get(score, "run"));
    write_text(out, run != NULL ? run : "");
    fputs(",evaluation,,", out);
    write_value(out, json_object_get(score, "tokens"));
    fputc(',', out);
    for (size_t m = 0; m < SP_N_MEASURES; m++) fputc(',', out);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = json_string_value(json_object_get(score, texts[i]));
        fputc(',', out);
        write_text(out, text != NULL ? text : "");
    }
    for (size_t i = 0; i < figures->n; i++) {
        fputc(',', out);
        write_value(out, json_object_get(score, figures->keys[i]));
    }
    fputc('\n', out);
}

static void write_scores(FILE *out, const json_t *scores, const columns *figures) {
    for (size_t i = 0; i < json_array_size(scores); i++)
        write_score(out, json_array_get(scores, i), figures);
}

sp_status sp_report_csv(FILE *out, const sp_report_matter *matter) {
    const columns figures = figure_columns();
    write_header(out, &figures);
    for (size_t r = 0; r < matter->n_runs; r++)
        SP_TRY(write_run(out, &matter->runs[r], matter->peak, figures.n));
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++)
        write_scores(out, matter->results->scores[t], &figures);
    write_scores(out, matter->results->lengths, &figures);
    return SP_OK;
}
