#include "run/step_guard.h"

#include "base/log.h"

#include <math.h>
#include <stdio.h>

enum { WARM_STEPS = 20, AVERAGED_STEPS = 50 };

/* Writes to `reason` why the step must not be made; false if it may. */
static bool is_bad(char *reason, size_t size, const sp_step_guard *guard,
                   const sp_run_config *config, const sp_step_facts *facts) {
    const double factor = config->train.spike_factor;
    if (!isfinite(facts->grad_norm)) {
        snprintf(reason, size, "the gradient is not finite");
        return true;
    }
    if (!isfinite(facts->loss)) {
        snprintf(reason, size, "the loss is not finite");
        return true;
    }
    if (factor == 0 || guard->n_accepted < WARM_STEPS || guard->average == 0) return false;
    if (facts->grad_norm <= factor * guard->average) return false;
    snprintf(reason, size, "the gradient's norm, %.4g, is %.3g times the average (%.4g)",
             facts->grad_norm, facts->grad_norm / guard->average, guard->average);
    return true;
}

static void accept(sp_step_guard *guard, double grad_norm) {
    guard->n_accepted++;
    guard->n_skipped_in_row = 0;
    const uint64_t n = guard->n_accepted < AVERAGED_STEPS ? guard->n_accepted : AVERAGED_STEPS;
    guard->average += (grad_norm - guard->average) / (double)n;
}

/* What a sample is found by: a segment's number, a row's line. */
static uintmax_t number_of(const sp_samples *samples, uint64_t position) {
    const uint32_t i = sp_samples_segment(samples, position);
    return samples->tasks != NULL ? samples->tasks->tasks[i].line : i;
}

/* Some lines, as a message has a limit and a batch has none. */
static void log_segments(const sp_samples *samples, const sp_step_facts *facts) {
    enum { IN_A_LINE = 64 };
    for (uint64_t first = facts->begin; first < facts->end; first += IN_A_LINE) {
        char text[IN_A_LINE * 11 + 1] = ""; /* a blank and ten digits each at most */
        size_t used = 0;
        for (uint64_t at = first; at < facts->end && at < first + IN_A_LINE; at++)
            used +=
                (size_t)snprintf(text + used, sizeof text - used, " %ju", number_of(samples, at));
        sp_log(SP_LOG_WARNING, "step %ju: %s%s", (uintmax_t)facts->step,
               samples->tasks != NULL ? "lines" : "segments", text);
    }
}

sp_status sp_step_guard_judge(sp_step_guard *guard, bool *is_skipped, const sp_run_config *config,
                              const sp_samples *samples, const sp_step_facts *facts) {
    char reason[160];
    *is_skipped = is_bad(reason, sizeof reason, guard, config, facts);
    if (!*is_skipped) {
        accept(guard, facts->grad_norm);
        return SP_OK;
    }
    guard->n_skipped++;
    guard->n_skipped_in_row++;
    if (guard->n_skipped_in_row > config->train.max_skipped)
        return sp_fail(SP_NUMERIC,
                       "step %ju: %s, and %ju steps in a row could not be made (train.max_skipped: "
                       "%zu); lower train.lr or look at samples %ju to %ju",
                       (uintmax_t)facts->step, reason, (uintmax_t)guard->n_skipped_in_row,
                       config->train.max_skipped, (uintmax_t)facts->begin,
                       (uintmax_t)(facts->end - 1));
    sp_log(SP_LOG_WARNING, "step %ju is skipped: %s; samples %ju to %ju", (uintmax_t)facts->step,
           reason, (uintmax_t)facts->begin, (uintmax_t)(facts->end - 1));
    if (sp_log_shows(SP_LOG_WARNING)) log_segments(samples, facts);
    return SP_OK;
}

sp_status sp_step_guard_to_json(json_t **object, const sp_step_guard *guard) {
    json_t *made =
        json_pack("{s:f, s:I, s:I, s:I}", "grad_norm_average", guard->average, "accepted_steps",
                  (json_int_t)guard->n_accepted, "skipped_steps", (json_int_t)guard->n_skipped,
                  "skipped_in_row", (json_int_t)guard->n_skipped_in_row);
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for the state of a run");
    *object = made;
    return SP_OK;
}

sp_status sp_step_guard_from_json(sp_step_guard *guard, const json_t *object, const char *where) {
    double average = 0;
    size_t n_accepted = 0, n_skipped = 0, n_in_row = 0;
    if (object != NULL && !json_is_object(object))
        return sp_fail(SP_BAD_DATA, "%s: not an object", where);
    SP_TRY(sp_json_get_double(&average, object, "grad_norm_average", where));
    SP_TRY(sp_json_get_size(&n_accepted, object, "accepted_steps", where));
    SP_TRY(sp_json_get_size(&n_skipped, object, "skipped_steps", where));
    SP_TRY(sp_json_get_size(&n_in_row, object, "skipped_in_row", where));
    if (!(average >= 0) || !isfinite(average) || n_in_row > n_skipped)
        return sp_fail(SP_BAD_DATA, "%s: no state that a run can be in", where);
    *guard = (sp_step_guard){.average = average,
                             .n_accepted = n_accepted,
                             .n_skipped = n_skipped,
                             .n_skipped_in_row = n_in_row};
    return SP_OK;
}
