#include "run/metrics_summary.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { LINE_SIZE = 1 << 14 }; /* a line of ours has some 500 bytes */

typedef struct line_counts {
    json_int_t n_steps, n_validations;
    json_t *first, *last, *last_validation; /* owned, or NULL */
} line_counts;

static bool is_validation(const json_t *line) {
    return json_object_get(line, "loss_reconstruction") == NULL &&
           json_object_get(line, "loss_answer") == NULL;
}

static void replace(json_t **place, json_t *line) {
    json_decref(*place);
    *place = json_incref(line);
}

static void count_line(line_counts *counts, json_t *line) {
    if (is_validation(line)) {
        counts->n_validations++;
        replace(&counts->last_validation, line);
        return;
    }
    counts->n_steps++;
    if (counts->first == NULL) replace(&counts->first, line);
    replace(&counts->last, line);
}

static sp_status read_line(line_counts *counts, const char *text, const char *path, size_t number) {
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const bool is_ours = json_is_integer(json_object_get(line, "step"));
    if (is_ours) count_line(counts, line);
    json_decref(line);
    return is_ours
               ? SP_OK
               : sp_fail(SP_BAD_DATA, "'%s', line %zu: no JSON object with a step", path, number);
}

static sp_status read_lines(line_counts *counts, FILE *file, const char *path) {
    char text[LINE_SIZE];
    for (size_t number = 1; fgets(text, sizeof text, file) != NULL; number++) {
        if (strchr(text, '\n') == NULL && feof(file)) return SP_OK;
        SP_TRY(read_line(counts, text, path, number));
    }
    return ferror(file) ? sp_fail(SP_IO, "'%s': %s", path, strerror(errno)) : SP_OK;
}

sp_status sp_metrics_summarize(json_t **summary, const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    line_counts counts = {0};
    sp_status status = read_lines(&counts, file, path);
    fclose(file);
    if (status == SP_OK) {
        json_t *made =
            json_pack("{s:s, s:I, s:I, s:O*, s:O*, s:O*}", "format", "slotpress-metrics", "steps",
                      counts.n_steps, "validations", counts.n_validations, "first", counts.first,
                      "last", counts.last, "last_validation", counts.last_validation);
        if (made == NULL)
            status = sp_fail(SP_FAILURE, "no memory for a summary of '%s'", path);
        else
            *summary = made;
    }
    json_decref(counts.last_validation);
    json_decref(counts.last);
    json_decref(counts.first);
    return status;
}
