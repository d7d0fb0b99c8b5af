#include "run/report_table.h"

#include <string.h>

/* Columns of texts, before those of figures. */
static const char *const text_keys[] = {"decoder", "run", "data", "context"};
enum { N_TEXTS = sizeof text_keys / sizeof text_keys[0], RUN = 1, CONTEXT = 3, CELL_SIZE = 256 };
enum { MOST_TABLE_COLUMNS = N_TEXTS + SP_MOST_FIGURES };

typedef struct table {
    const json_t *scores;
    const char *keys[MOST_TABLE_COLUMNS];
    bool is_shown[MOST_TABLE_COLUMNS];
    size_t n_columns, widths[MOST_TABLE_COLUMNS];
    int decimals;
} table;

static const char *text_of(const json_t *score, const char *key) {
    const char *text = json_string_value(json_object_get(score, key));
    return text != NULL ? text : "";
}

/* What stands in a cell; cut where it is longer than a line of a table should be. */
static void fill_cell(char cell[CELL_SIZE], const table *t, size_t row, size_t column) {
    const json_t *score = json_array_get(t->scores, row);
    const json_t *value = json_object_get(score, t->keys[column]);
    const json_t *ratio = json_object_get(score, "ratio");
    cell[0] = '\0';
    if (column == CONTEXT && json_is_integer(ratio))
        snprintf(cell, CELL_SIZE, "%s %lldx", text_of(score, "method"),
                 (long long)json_integer_value(ratio));
    else if (column < N_TEXTS)
        snprintf(cell, CELL_SIZE, "%s",
                 text_of(score, column == CONTEXT ? "method" : t->keys[column]));
    else if (json_is_integer(value))
        snprintf(cell, CELL_SIZE, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(cell, CELL_SIZE, "%.*f", t->decimals, json_real_value(value));
}

/* Characters, of which UTF-8's later bytes are none. */
static size_t width_of(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Does the decoder tell the runs apart? */
static bool is_told_by_decoder(const json_t *scores) {
    for (size_t i = 0; i < json_array_size(scores); i++) {
        const json_t *a = json_array_get(scores, i);
        if (*text_of(a, "decoder") == '\0') return false;
        for (size_t j = 0; j < i; j++) {
            const json_t *b = json_array_get(scores, j);
            if (json_equal(json_object_get(a, "decoder"), json_object_get(b, "decoder")) &&
                !json_equal(json_object_get(a, "run"), json_object_get(b, "run")))
                return false;
        }
    }
    return true;
}

static void measure(table *t) {
    char cell[CELL_SIZE];
    for (size_t c = 0; c < t->n_columns; c++) {
        for (size_t r = 0; r < json_array_size(t->scores); r++) {
            fill_cell(cell, t, r, c);
            const size_t width = width_of(cell);
            t->is_shown[c] = t->is_shown[c] || width > 0;
            if (width > t->widths[c]) t->widths[c] = width;
        }
        if (strlen(t->keys[c]) > t->widths[c]) t->widths[c] = strlen(t->keys[c]);
    }
    if (is_told_by_decoder(t->scores)) t->is_shown[RUN] = false;
}

/* Texts to the left, numbers to the right; nothing follows the last. */
static void write_cell(FILE *out, const table *t, size_t column, const char *cell) {
    const int n_spaces = (int)(t->widths[column] - width_of(cell));
    if (column < N_TEXTS)
        fprintf(out, "%s%*s  ", cell, n_spaces, "");
    else
        fprintf(out, "  %*s%s", n_spaces, "", cell);
}

static void write_row(FILE *out, const table *t, size_t row, bool is_header) {
    char cell[CELL_SIZE];
    for (size_t c = 0; c < t->n_columns; c++) {
        if (!t->is_shown[c]) continue;
        if (!is_header) fill_cell(cell, t, row, c);
        write_cell(out, t, c, is_header ? t->keys[c] : cell);
    }
    fputc('\n', out);
}

static void write_table(FILE *out, const json_t *scores, size_t task) {
    const sp_result_kind *kind = &sp_result_kinds[task];
    table t = {.scores = scores, .n_columns = N_TEXTS, .decimals = 4};
    if (task == SP_RESULT_QA || task == SP_RESULT_ICL) t.decimals = 2; /* of 100 */
    memcpy(t.keys, text_keys, sizeof text_keys);
    for (const char *const *key = kind->figures; *key != NULL; key++) t.keys[t.n_columns++] = *key;
    measure(&t);
    fprintf(out, "%s\n", kind->title);
    write_row(out, &t, 0, true);
    for (size_t r = 0; r < json_array_size(scores); r++) write_row(out, &t, r, false);
}

void sp_report_tables(FILE *out, const sp_report_results *results) {
    bool is_first = true;
    for (size_t t = 0; t < SP_N_RESULT_TASKS; t++) {
        if (json_array_size(results->scores[t]) == 0) continue;
        if (!is_first) fputc('\n', out);
        is_first = false;
        write_table(out, results->scores[t], t);
    }
}

json_t *sp_report_scores_json(const sp_report_results *results) {
    json_t *scores = json_array();
    bool is_whole = scores != NULL;
    for (size_t t = 0; is_whole && t < SP_N_RESULT_TASKS; t++)
        is_whole = json_array_extend(scores, results->scores[t]) == 0;
    if (is_whole) return json_pack("{s:o, s:O}", "scores", scores, "by_length", results->lengths);
    json_decref(scores);
    return NULL;
}
