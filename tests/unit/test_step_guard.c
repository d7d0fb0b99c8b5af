#include "tests/check.h"
#include "tests/temp_folder.h"

#include "run/step_guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const double rounding = 1e-12; /* a few steps of f64 */

/* A corpus of 1000 training segments, 5000 and on in the file. */
enum { N_SEGMENTS = 1000, FIRST_SEGMENT = 5000, BATCH = 7 };
static uint32_t segments[N_SEGMENTS];
static sp_samples samples = {.trained = segments, .n_trained = N_SEGMENTS, .seed = 3};
static sp_run_config config = {.train = {.spike_factor = 10, .max_skipped = 3}};

typedef struct judged {
    sp_status status;
    bool is_skipped;
    char *log; /* owned */
} judged;

/* Judges a step, and keeps what it writes to standard error. */
static judged judge(sp_step_guard *guard, uint64_t step, double loss, double grad_norm) {
    temp_file *file = NULL;
    void *state = NULL;
    assert_int_equal(temp_file_set_up(&state, "log"), 0);
    file = state;
    fflush(stderr);
    const int before = dup(STDERR_FILENO);
    assert_non_null(freopen(file->path, "w", stderr));
    judged result = {0};
    const sp_step_facts facts = {.step = step,
                                 .loss = loss,
                                 .grad_norm = grad_norm,
                                 .begin = (step - 1) * BATCH,
                                 .end = step * BATCH};
    result.status = sp_step_guard_judge(guard, &result.is_skipped, &config, &samples, &facts);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    size_t n_bytes = 0;
    result.log = temp_read(file->path, &n_bytes);
    temp_file_tear_down(&state);
    return result;
}

static void assert_made(sp_step_guard *guard, uint64_t step, double grad_norm) {
    judged result = judge(guard, step, 2.5, grad_norm);
    assert_int_equal(result.status, SP_OK);
    assert_false(result.is_skipped);
    assert_string_equal(result.log, "");
    free(result.log);
}

static void assert_skipped(sp_step_guard *guard, uint64_t step, double loss, double grad_norm,
                           const char *reason) {
    judged result = judge(guard, step, loss, grad_norm);
    assert_int_equal(result.status, SP_OK);
    assert_true(result.is_skipped);
    if (strstr(result.log, reason) == NULL) fail_msg("no '%s' in: %s", reason, result.log);
    free(result.log);
}

static uint64_t warm_up(sp_step_guard *guard) {
    uint64_t step = 1;
    for (; step <= 20; step++) assert_made(guard, step, 2);
    return step;
}

static void what_is_not_finite_is_skipped_from_the_first_step_on(void **state) {
    sp_step_guard guard = {0};
    assert_skipped(&guard, 1, 1, NAN, "step 1 is skipped: the gradient is not finite");
    assert_skipped(&guard, 2, 1, INFINITY, "the gradient is not finite");
    assert_skipped(&guard, 3, NAN, 1, "the loss is not finite");
    assert_int_equal(guard.n_skipped, 3);
    assert_int_equal(guard.n_accepted, 0);
    assert_true(guard.average == 0);
}

static void spikes_are_skipped_once_the_average_is_warm(void **state) {
    sp_step_guard guard = {0};
    for (uint64_t step = 1; step <= 19; step++) assert_made(&guard, step, 2);
    sp_step_guard cold = guard;
    assert_made(&cold, 20, 1000);
    assert_made(&guard, 20, 2);
    assert_made(&guard, 21, 20); /* ten times is not beyond ten times */
    const double average = guard.average;
    assert_skipped(&guard, 22, 1, 10.1 * average, "is 10.1 times the average");
    assert_true(guard.average == average); /* a spike does not move it */
    assert_int_equal(guard.n_accepted, 21);
    assert_made(&guard, 23, 2);
    assert_int_equal(guard.n_skipped, 1);
    assert_int_equal(guard.n_skipped_in_row, 0);
}

static void factor_of_zero_lets_every_finite_step_pass(void **state) {
    sp_step_guard guard = {0};
    const uint64_t step = warm_up(&guard);
    config.train.spike_factor = 0;
    assert_made(&guard, step, 1e20);
    config.train.spike_factor = 10;
}

/* The mean of what there is, then 1/50 of each new one; the definition in other words. */
static void average_is_the_mean_and_then_an_exponential_one(void **state) {
    sp_step_guard guard = {0};
    double sum = 0, expected = 0;
    for (uint64_t step = 1; step <= 120; step++) {
        const double norm = 1 + (double)(step * 37 % 11) / 10;
        assert_made(&guard, step, norm);
        sum += norm;
        expected = step <= 50 ? sum / (double)step : 0.98 * expected + 0.02 * norm;
        assert_close(guard.average, expected, rounding);
    }
}

static void too_many_in_a_row_end_the_run(void **state) {
    sp_step_guard guard = {0};
    uint64_t step = warm_up(&guard);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) assert_skipped(&guard, step++, 1, 2000, "times the average");
        if (round == 0) assert_made(&guard, step++, 2);
    }
    judged result = judge(&guard, step, 1, NAN);
    assert_int_equal(result.status, SP_NUMERIC);
    assert_non_null(
        strstr(sp_message(), "step 28: the gradient is not finite, and 4 steps in a row"));
    assert_non_null(strstr(sp_message(), "samples 189 to 195"));
    free(result.log);
}

static void none_may_be_skipped_where_none_is_allowed(void **state) {
    sp_step_guard guard = {0};
    config.train.max_skipped = 0;
    judged result = judge(&guard, 1, 1, NAN);
    config.train.max_skipped = 3;
    assert_int_equal(result.status, SP_NUMERIC);
    free(result.log);
}

static void samples_and_segments_of_a_skipped_step_are_logged(void **state) {
    sp_step_guard guard = {0};
    judged result = judge(&guard, 100, NAN, 1);
    assert_non_null(strstr(result.log, "samples 693 to 699"));
    const char *at = strstr(result.log, "segments ");
    assert_non_null(at);
    char *end = NULL;
    at += strlen("segments ");
    for (uint64_t position = 693; position < 700; position++) {
        assert_int_equal(strtoul(at, &end, 10), sp_samples_segment(&samples, position));
        assert_true(end > at);
        at = end;
    }
    assert_int_equal(*end, '\n');
    free(result.log);
}

static void state_comes_back_from_text_to_the_last_bit(void **state) {
    sp_step_guard guard = {0}, copy = {.n_accepted = 9};
    for (uint64_t step = 1; step <= 30; step++) assert_made(&guard, step, 1.0 / (double)(step + 2));
    assert_skipped(&guard, 31, NAN, 1, "not finite");
    json_t *object = NULL, *read = NULL;
    assert_int_equal(sp_step_guard_to_json(&object, &guard), SP_OK);
    char *text = json_dumps(object, JSON_INDENT(2));
    assert_int_equal(sp_json_load_text(&read, text, strlen(text), "state"), SP_OK);
    assert_int_equal(sp_step_guard_from_json(&copy, read, "state"), SP_OK);
    assert_memory_equal(&copy, &guard, sizeof guard);
    free(text);
    json_decref(read);
    json_decref(object);
}

static void no_state_is_that_of_a_new_run(void **state) {
    sp_step_guard guard = {.average = 1, .n_accepted = 9};
    const sp_step_guard empty = {0};
    assert_int_equal(sp_step_guard_from_json(&guard, NULL, "state"), SP_OK);
    assert_memory_equal(&guard, &empty, sizeof guard);
}

static void state_that_is_none_is_refused(void **state) {
    static const char *const texts[] = {
        "[]", "{\"grad_norm_average\": -1}", "{\"grad_norm_average\": \"1\"}",
        "{\"accepted_steps\": -1}", "{\"skipped_steps\": 1, \"skipped_in_row\": 2}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sp_step_guard guard = {.average = 1};
        json_t *object = NULL;
        assert_int_equal(sp_json_load_text(&object, texts[i], strlen(texts[i]), "x"), SP_OK);
        assert_int_equal(sp_step_guard_from_json(&guard, object, "'m.json'"), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), "'m.json'"));
        assert_true(guard.average == 1);
        json_decref(object);
    }
}

int main(void) {
    for (uint32_t i = 0; i < N_SEGMENTS; i++) segments[i] = FIRST_SEGMENT + i;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_finite_is_skipped_from_the_first_step_on),
        cmocka_unit_test(spikes_are_skipped_once_the_average_is_warm),
        cmocka_unit_test(factor_of_zero_lets_every_finite_step_pass),
        cmocka_unit_test(average_is_the_mean_and_then_an_exponential_one),
        cmocka_unit_test(too_many_in_a_row_end_the_run),
        cmocka_unit_test(none_may_be_skipped_where_none_is_allowed),
        cmocka_unit_test(samples_and_segments_of_a_skipped_step_are_logged),
        cmocka_unit_test(state_comes_back_from_text_to_the_last_bit),
        cmocka_unit_test(no_state_is_that_of_a_new_run),
        cmocka_unit_test(state_that_is_none_is_refused),
    };
    return cmocka_run_group_tests_name("step_guard", tests, NULL, NULL);
}
