#include "run/report_metrics.h"

#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const sp_measure_keys[SP_N_MEASURES] = {
    "loss_reconstruction",
    "loss_completion",
    "loss_answer",
    "grad_norm",
    "lr",
    "tokens_per_second",
    "flops_per_second",
    "seconds",
    "validation_loss_reconstruction",
    "validation_loss_completion",
    "validation_loss_answer",
    "validation_accuracy_reconstruction",
    "validation_accuracy_completion",
    "validation_accuracy_answer",
};

struct sp_metrics_reader {
    FILE *file; /* owned */
    char *path; /* owned */
    char *text; /* owned: a line */
    size_t capacity, number;
    uint64_t tokens, last_step, last_validation;
    bool has_step, has_validation;
    size_t n_damaged, first_damaged;
};

sp_status sp_metrics_reader_open(sp_metrics_reader **reader, const char *run_dir) {
    sp_metrics_reader *made = calloc(1, sizeof *made);
    if (made == NULL || asprintf(&made->path, "%s/metrics.jsonl", run_dir) < 0) {
        free(made);
        return sp_fail(SP_FAILURE, "no memory to read the metrics of '%s'", run_dir);
    }
    made->file = fopen(made->path, "r");
    if (made->file != NULL || errno == ENOENT) {
        if (made->file == NULL) {
            sp_metrics_reader_close(made);
            made = NULL;
        }
        *reader = made;
        return SP_OK;
    }
    const sp_status status = sp_fail(SP_IO, "cannot open '%s': %s", made->path, strerror(errno));
    sp_metrics_reader_close(made);
    return status;
}

void sp_metrics_reader_close(sp_metrics_reader *reader) {
    if (reader == NULL) return;
    if (reader->file != NULL) fclose(reader->file); /* was only read */
    free(reader->text);
    free(reader->path);
    free(reader);
}

/* Is the step beyond those before? Notes it. */
static bool is_new(uint64_t *last, bool *has, uint64_t step) {
    if (*has && step <= *last) return false;
    *has = true;
    *last = step;
    return true;
}

static bool has_any(const json_t *object, size_t begin, size_t end) {
    for (size_t m = begin; m < end; m++)
        if (json_object_get(object, sp_measure_keys[m]) != NULL) return true;
    return false;
}

/* Of a training line; without the key, by their rate. False: neither is there. */
static bool find_tokens(uint64_t *n, const json_t *object, const sp_metrics_line *line) {
    const json_t *tokens = json_object_get(object, "tokens");
    const double by_rate =
        line->values[SP_MEASURE_TOKENS_PER_SECOND] * line->values[SP_MEASURE_SECONDS];
    const double most = 1e15; /* in a step: far below what overflows */
    if (json_is_integer(tokens)) {
        *n = (uint64_t)json_integer_value(tokens);
        return json_integer_value(tokens) >= 0;
    }
    if (tokens != NULL || !(by_rate >= 0 && by_rate < most)) return false;
    *n = (uint64_t)llround(by_rate);
    return true;
}

/* Takes a line apart; false if it is damaged. */
static bool take_line(sp_metrics_reader *r, sp_metrics_line *line, const json_t *object) {
    const json_t *step = json_object_get(object, "step");
    const bool is_training = has_any(object, SP_MEASURE_LOSS, SP_MEASURE_LOSS + 3);
    const bool is_validation =
        !is_training && has_any(object, SP_MEASURE_VALIDATION_LOSS, SP_N_MEASURES);
    uint64_t n = 0;
    if (!json_is_integer(step) || json_integer_value(step) < 0) return false;
    if (!is_training && !is_validation) return false;
    *line = (sp_metrics_line){.step = (uint64_t)json_integer_value(step),
                              .is_validation = is_validation,
                              .is_skipped = json_is_true(json_object_get(object, "skipped"))};
    for (size_t m = 0; m < SP_N_MEASURES; m++) {
        const json_t *value = json_object_get(object, sp_measure_keys[m]);
        line->values[m] = json_is_number(value) ? json_number_value(value) : (double)NAN;
    }
    if (is_validation) return is_new(&r->last_validation, &r->has_validation, line->step);
    return find_tokens(&n, object, line) && is_new(&r->last_step, &r->has_step, line->step) &&
           !__builtin_add_overflow(r->tokens, n, &r->tokens);
}

sp_status sp_metrics_reader_next(sp_metrics_reader *r, sp_metrics_line *line, bool *is_end) {
    for (;;) {
        errno = 0;
        const ssize_t length = getline(&r->text, &r->capacity, r->file);
        if (length < 0 && ferror(r->file))
            return sp_fail(SP_IO, "cannot read '%s': %s", r->path, strerror(errno));
        if (length < 0 && !feof(r->file))
            return sp_fail(SP_FAILURE, "'%s': no memory for a line", r->path);
        *is_end = length < 0 || r->text[length - 1] != '\n';
        if (*is_end) return SP_OK;
        r->number++;
        json_t *object = json_loadb(r->text, (size_t)length, 0, NULL);
        sp_metrics_line taken;
        const bool is_whole = take_line(r, &taken, object);
        json_decref(object);
        if (is_whole) {
            taken.tokens = r->tokens;
            *line = taken;
            return SP_OK;
        }
        if (r->n_damaged++ == 0) r->first_damaged = r->number;
    }
}

size_t sp_metrics_reader_n_damaged(const sp_metrics_reader *reader) { return reader->n_damaged; }

size_t sp_metrics_reader_first_damaged(const sp_metrics_reader *reader) {
    return reader->first_damaged;
}
