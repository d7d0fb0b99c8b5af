#include "run/report_run.h"

#include "io/checkpoint.h"
#include "io/manifest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { N_LOSSES = 3 };

static void count_step(sp_report_run *run, const sp_metrics_line *line) {
    const double seconds = line->values[SP_MEASURE_SECONDS];
    const double flops = line->values[SP_MEASURE_FLOPS_PER_SECOND];
    const double mfu = line->values[SP_MEASURE_MFU];
    run->n_steps++;
    run->n_skipped += line->is_skipped;
    run->last_step = line->step;
    run->n_tokens = line->tokens;
    if (seconds > 0) run->seconds += seconds;
    if (seconds > 0 && flops > 0) run->flop += seconds * flops;
    if (seconds > 0 && flops > 0 && mfu > 0) {
        run->known_flop += seconds * flops;
        run->most_flop += seconds * flops / mfu;
    }
    for (size_t i = 0; i < N_LOSSES; i++) {
        const double loss = line->values[SP_MEASURE_LOSS + i];
        if (!isfinite(loss)) continue;
        if (!isfinite(run->first_loss[i])) run->first_loss[i] = loss;
        run->last_loss[i] = loss;
    }
}

static void count_validation(sp_report_run *run, const sp_metrics_line *line) {
    run->n_validations++;
    for (size_t i = 0; i < N_LOSSES; i++) {
        const double loss = line->values[SP_MEASURE_VALIDATION_LOSS + i];
        if (!isfinite(loss)) continue;
        run->last_held_out[i] = loss;
        if (run->least_held_out[i] <= loss) continue;
        run->least_held_out[i] = loss;
        run->least_step[i] = line->step;
    }
}

static void take_line(sp_report_run *run, const sp_metrics_line *line) {
    if (line->is_validation)
        count_validation(run, line);
    else
        count_step(run, line);
    for (size_t m = 0; m < SP_N_MEASURES; m++)
        if (isfinite(line->values[m]))
            sp_series_add(&run->series[m], (double)line->tokens, line->values[m]);
}

static void add_note(sp_report_run *run, const char *text) {
    json_t *note = json_string(text);
    /* A path need not be UTF-8. */
    json_array_append_new(run->notes,
                          note != NULL ? note : json_string("a note that is not UTF-8"));
}

static void note_damage(sp_report_run *run, const sp_metrics_reader *reader) {
    const size_t n = sp_metrics_reader_n_damaged(reader);
    char text[160];
    if (n == 0) return;
    snprintf(text, sizeof text,
             "metrics.jsonl: %zu damaged or repeated %s left out, the first of them line %zu", n,
             n == 1 ? "line" : "lines", sp_metrics_reader_first_damaged(reader));
    add_note(run, text);
}

static sp_status read_metrics(sp_report_run *run, double peak) {
    sp_metrics_reader *reader = NULL;
    SP_TRY(sp_metrics_reader_open(&reader, run->path));
    if (reader == NULL) {
        add_note(run, "no metrics.jsonl: nothing was trained in this folder");
        return SP_OK;
    }
    sp_status status = SP_OK;
    run->has_metrics = true;
    for (;;) {
        sp_metrics_line line;
        bool is_end = false;
        status = sp_metrics_reader_next(reader, &line, &is_end);
        if (status != SP_OK || is_end) break;
        if (peak > 0) sp_metrics_line_use_peak(&line, peak);
        take_line(run, &line);
    }
    note_damage(run, reader);
    sp_metrics_reader_close(reader);
    return status;
}

/* Only what the configuration is worth hangs on it: a checkpoint that cannot be read is a note. */
static void read_config(sp_report_run *run) {
    char *folder = NULL;
    json_t *manifest = NULL;
    if (sp_checkpoint_find(run->path, &folder) != SP_OK) {
        add_note(run, sp_message());
        return;
    }
    if (folder == NULL) {
        add_note(run, "no checkpoint yet, therefore no configuration");
        return;
    }
    if (sp_manifest_read(&manifest, folder) != SP_OK) {
        add_note(run, sp_message());
    } else {
        run->has_checkpoint = true;
        run->checkpoint_step = sp_manifest_step(manifest);
        json_t *config = json_object_get(manifest, "config");
        if (json_is_object(config)) run->config = json_incref(config);
    }
    json_decref(manifest);
    free(folder);
}

static char *without_slash(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return strndup(path, n);
}

sp_status sp_report_run_read(sp_report_run *run, const char *path, double peak) {
    struct stat found;
    *run = (sp_report_run){.path = without_slash(path), .notes = json_array()};
    for (size_t i = 0; i < N_LOSSES; i++)
        run->first_loss[i] = run->last_loss[i] = run->last_held_out[i] = run->least_held_out[i] =
            (double)NAN;
    if (run->path == NULL || run->notes == NULL)
        return sp_fail(SP_FAILURE, "no memory to read the run '%s'", path);
    if (stat(run->path, &found) != 0)
        return sp_fail(SP_IO, "cannot read the run folder '%s': %s", path, strerror(errno));
    if (!S_ISDIR(found.st_mode))
        return sp_fail(SP_IO, "'%s' is no folder; a report is made of runs' folders", path);
    SP_TRY(read_metrics(run, peak));
    read_config(run);
    return SP_OK;
}

void sp_report_run_free(sp_report_run *run) {
    json_decref(run->config);
    json_decref(run->notes);
    free(run->path);
    *run = (sp_report_run){0};
}

bool sp_report_run_is_one(const sp_report_run *run) {
    return run->has_checkpoint || run->has_metrics;
}
