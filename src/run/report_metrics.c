#include "run/report_metrics.h"

#include "base/json.h"
#include "run/report_flat.h"

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
    "mfu",
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

void sp_metrics_line_use_peak(sp_metrics_line *line, double peak) {
    line->values[SP_MEASURE_MFU] = line->values[SP_MEASURE_FLOPS_PER_SECOND] / peak;
}

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

/* What a line was found to have, in whatever order. */
typedef struct found {
    bool is_object, has[SP_N_MEASURES]; /* null or not */
    bool has_tokens, is_skipped;
    double step, tokens; /* NaN: no whole number */
    double values[SP_N_MEASURES];
} found;

static bool is_key(const sp_flat_member *member, const char *key) {
    return strlen(key) == member->key_bytes && memcmp(member->key, key, member->key_bytes) == 0;
}

static void put(found *line, const sp_flat_member *member) {
    const double whole = member->is_integer ? member->number : (double)NAN;
    for (size_t m = 0; m < SP_N_MEASURES; m++) {
        if (!is_key(member, sp_measure_keys[m])) continue;
        line->has[m] = true;
        line->values[m] = member->is_number ? member->number : (double)NAN;
        return;
    }
    if (is_key(member, "step")) line->step = whole;
    if (is_key(member, "skipped")) line->is_skipped = member->is_true;
    if (!is_key(member, "tokens")) return;
    line->has_tokens = true;
    line->tokens = whole;
}

static found nothing(void) {
    found line = {.step = (double)NAN, .tokens = (double)NAN};
    for (size_t m = 0; m < SP_N_MEASURES; m++) line.values[m] = (double)NAN;
    return line;
}

static found parse_flat(const char *text, size_t n_bytes) {
    found line = nothing();
    sp_flat flat;
    sp_flat_member member;
    sp_flat_begin(&flat, text, n_bytes);
    while (sp_flat_next(&flat, &member)) put(&line, &member);
    line.is_object = flat.is_whole;
    return line;
}

/* The same of any JSON. */
static found parse(const char *text, size_t n_bytes) {
    found line = nothing();
    json_t *object = json_loadb(text, n_bytes, 0, NULL), *value = NULL;
    const char *key = NULL;
    json_object_foreach(object, key, value) {
        const sp_flat_member member = {.key = key,
                                       .key_bytes = strlen(key),
                                       .is_number = json_is_number(value),
                                       .is_integer = json_is_integer(value),
                                       .is_true = json_is_true(value),
                                       .number = json_number_value(value)};
        put(&line, &member);
    }
    line.is_object = json_is_object(object);
    json_decref(object);
    return line;
}

static bool has_any(const found *line, size_t begin, size_t end) {
    for (size_t m = begin; m < end; m++)
        if (line->has[m]) return true;
    return false;
}

/* Takes a line apart; false if it is damaged. */
static bool take_line(sp_metrics_reader *r, sp_metrics_line *line, const found *from) {
    const double most = 1e15; /* far below what a double holds exactly, and what overflows */
    const bool is_training = has_any(from, SP_MEASURE_LOSS, SP_MEASURE_LOSS + 3);
    const bool is_validation = has_any(from, SP_MEASURE_VALIDATION_LOSS, SP_N_MEASURES);
    if (!from->is_object || !(from->step >= 0 && from->step < most)) return false;
    if (!is_training && !is_validation) return false;
    *line = (sp_metrics_line){.step = (uint64_t)from->step,
                              .is_validation = !is_training,
                              .is_skipped = from->is_skipped};
    memcpy(line->values, from->values, sizeof line->values);
    if (!is_training) return is_new(&r->last_validation, &r->has_validation, line->step);
    /* A line without them has their rate. */
    const double tokens =
        from->has_tokens
            ? from->tokens
            : round(from->values[SP_MEASURE_TOKENS_PER_SECOND] * from->values[SP_MEASURE_SECONDS]);
    return tokens >= 0 && tokens < most && is_new(&r->last_step, &r->has_step, line->step) &&
           !__builtin_add_overflow(r->tokens, (uint64_t)tokens, &r->tokens);
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
        found from = parse_flat(r->text, (size_t)length);
        if (!from.is_object) from = parse(r->text, (size_t)length);
        sp_metrics_line taken;
        if (take_line(r, &taken, &from)) {
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
