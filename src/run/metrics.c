#include "run/metrics.h"

#include "base/json.h"
#include "io/atomic_file.h"
#include "run/run_folder.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Copies the lines to keep from `in` to *kept, owned. */
static sp_status keep_lines(char **kept, size_t *n_bytes, FILE *in, uint64_t step) {
    char *line = NULL;
    size_t capacity = 0;
    FILE *out = open_memstream(kept, n_bytes);
    if (out == NULL) return sp_fail(SP_FAILURE, "no memory for metrics");
    ssize_t length;
    while ((length = getline(&line, &capacity, in)) > 0) {
        if (line[length - 1] != '\n') break; /* half written */
        json_t *object = json_loads(line, 0, NULL);
        const json_t *at = json_object_get(object, "step");
        if (json_is_integer(at) && (uint64_t)json_integer_value(at) <= step)
            fwrite(line, 1, (size_t)length, out);
        json_decref(object);
    }
    free(line);
    if (fclose(out) != 0) return sp_fail(SP_FAILURE, "no memory for metrics");
    return SP_OK;
}

static sp_status trim(const char *path, uint64_t step) {
    FILE *in = fopen(path, "r");
    if (in == NULL && errno == ENOENT) return SP_OK;
    if (in == NULL) return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    char *kept = NULL;
    size_t n_bytes = 0;
    sp_status status = keep_lines(&kept, &n_bytes, in, step);
    fclose(in); /* was only read */
    if (status == SP_OK) status = sp_run_folder_explain(sp_atomic_write(path, kept, n_bytes));
    free(kept);
    return status;
}

sp_status sp_metrics_open(sp_metrics *metrics, const char *run_dir, uint64_t step) {
    char *path = NULL;
    if (asprintf(&path, "%s/metrics.jsonl", run_dir) < 0)
        return sp_fail(SP_FAILURE, "no memory for metrics");
    metrics->path = path;
    SP_TRY(trim(path, step));
    metrics->file = fopen(path, "a");
    if (metrics->file == NULL) return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    return SP_OK;
}

/* A number, or null where there is none: JSON has no NaN. */
static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *mean(double sum, uint64_t n) {
    return n > 0 ? number(sum / (double)n) : json_null();
}

static json_t *count(uint64_t n) { return json_integer((json_int_t)n); }

/* Takes the object. */
static sp_status write_line(sp_metrics *metrics, json_t *object) {
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (text == NULL) return sp_fail(SP_FAILURE, "no memory for a line of '%s'", metrics->path);
    const bool is_written = fprintf(metrics->file, "%s\n", text) > 0 && fflush(metrics->file) == 0;
    free(text);
    if (is_written) return SP_OK;
    return sp_run_folder_explain(
        sp_fail(SP_IO, "cannot write '%s': %s", metrics->path, strerror(errno)));
}

/* Adds the means of the losses that the run has, as members PREFIX + name + SUFFIX. */
static void add_losses(json_t *line, const sp_metrics *metrics, const char *prefix,
                       const double *sums, const uint64_t *n_targets, const char *suffix) {
    static const char *const names[SP_N_LOSSES] = {[SP_RECONSTRUCTION] = "reconstruction",
                                                   [SP_COMPLETION] = "completion",
                                                   [SP_ANSWER] = "answer"};
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        char name[64];
        if ((loss == SP_ANSWER) != metrics->is_of_answers) continue;
        snprintf(name, sizeof name, "%s%s%s", prefix, names[loss], suffix);
        json_object_set_new(line, name, mean(sums[loss], n_targets[loss]));
    }
}

/* Takes both; the members of `more` go behind those of `line`. NULL: no memory. */
static json_t *join(json_t *line, json_t *more) {
    const bool is_whole = more != NULL && json_object_update(line, more) == 0;
    json_decref(more);
    if (is_whole) return line;
    json_decref(line);
    return NULL;
}

double sp_step_mfu(const sp_step_metrics *step) {
    return step->peak > 0 ? step->flop / step->seconds / step->peak : (double)NAN;
}

sp_status sp_metrics_write_step(sp_metrics *metrics, const sp_step_metrics *m) {
    json_t *line = json_pack("{s:o}", "step", count(m->step));
    add_losses(line, metrics, "loss_", m->loss_sum, m->n_targets, "");
    if (m->ratio > 0) json_object_set_new(line, "ratio", count(m->ratio));
    return write_line(
        metrics,
        join(
            line,
            json_pack(
                "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:i, s:s?, s:o, s:o, s:o}",
                "grad_norm", number(m->grad_norm), "lr", number(m->lr), "tokens",
                count(m->n_tokens), "tokens_per_second", number((double)m->n_tokens / m->seconds),
                "flops_per_second", number(m->flop / m->seconds), "mfu", number(sp_step_mfu(m)),
                "seconds", number(m->seconds), "seconds_data", number(m->seconds_data),
                "seconds_communication", number(m->seconds_communication), "seconds_checkpoint",
                number(m->seconds_checkpoint), "skipped", m->is_skipped, "slowest_rank",
                m->timing.slowest_rank, "slowest_host", m->timing.slowest_host, "slowest_seconds",
                number(m->timing.slowest_seconds), "balance", number(m->timing.balance), "bubble",
                number(m->timing.bubble))));
}

static void add_validation(json_t *line, const sp_metrics *metrics, const sp_validation_sums *sums,
                           const char *suffix) {
    double n_correct[SP_N_LOSSES];
    for (int loss = 0; loss < SP_N_LOSSES; loss++) n_correct[loss] = (double)sums->n_correct[loss];
    add_losses(line, metrics, "validation_loss_", sums->loss_sum, sums->n_targets, suffix);
    add_losses(line, metrics, "validation_accuracy_", n_correct, sums->n_targets, suffix);
}

sp_status sp_metrics_write_validation(sp_metrics *metrics, const sp_validation_metrics *m) {
    json_t *line = json_pack("{s:o}", "step", count(m->step));
    add_validation(line, metrics, &m->all, "");
    for (size_t i = 0; m->ratios->n_items > 1 && i < m->ratios->n_items; i++) {
        char suffix[32];
        snprintf(suffix, sizeof suffix, "_%zux", m->ratios->items[i]);
        add_validation(line, metrics, &m->by_ratio[i], suffix);
    }
    return write_line(
        metrics, join(line, json_pack("{s:o, s:o}", "validation_segments", count(m->n_segments),
                                      "validation_seconds", number(m->seconds))));
}

void sp_metrics_close(sp_metrics *metrics) {
    if (metrics->file != NULL) fclose(metrics->file); /* every line was flushed and checked */
    free(metrics->path);
    *metrics = (sp_metrics){0};
}
