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

sp_status sp_metrics_write_step(sp_metrics *metrics, const sp_step_metrics *m) {
    return write_line(
        metrics,
        json_pack(
            "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:i, s:s?, s:o, s:o, "
            "s:o}",
            "step", count(m->step), "loss_reconstruction",
            mean(m->loss_sum[SP_RECONSTRUCTION], m->n_targets[SP_RECONSTRUCTION]),
            "loss_completion", mean(m->loss_sum[SP_COMPLETION], m->n_targets[SP_COMPLETION]),
            "grad_norm", number(m->grad_norm), "lr", number(m->lr), "tokens_per_second",
            number((double)m->n_tokens / m->seconds), "flops_per_second",
            number(m->flop / m->seconds), "seconds", number(m->seconds), "seconds_data",
            number(m->seconds_data), "seconds_communication", number(m->seconds_communication),
            "seconds_checkpoint", number(m->seconds_checkpoint), "skipped", m->is_skipped,
            "slowest_rank", m->timing.slowest_rank, "slowest_host", m->timing.slowest_host,
            "slowest_seconds", number(m->timing.slowest_seconds), "balance",
            number(m->timing.balance), "bubble", number(m->timing.bubble)));
}

sp_status sp_metrics_write_validation(sp_metrics *metrics, const sp_validation_metrics *m) {
    return write_line(
        metrics,
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step", count(m->step),
                  "validation_loss_reconstruction",
                  mean(m->loss_sum[SP_RECONSTRUCTION], m->n_targets[SP_RECONSTRUCTION]),
                  "validation_loss_completion",
                  mean(m->loss_sum[SP_COMPLETION], m->n_targets[SP_COMPLETION]),
                  "validation_accuracy_reconstruction",
                  mean((double)m->n_correct[SP_RECONSTRUCTION], m->n_targets[SP_RECONSTRUCTION]),
                  "validation_accuracy_completion",
                  mean((double)m->n_correct[SP_COMPLETION], m->n_targets[SP_COMPLETION]),
                  "validation_segments", count(m->n_segments), "validation_seconds",
                  number(m->seconds)));
}

void sp_metrics_close(sp_metrics *metrics) {
    if (metrics->file != NULL) fclose(metrics->file); /* every line was flushed and checked */
    free(metrics->path);
    *metrics = (sp_metrics){0};
}
