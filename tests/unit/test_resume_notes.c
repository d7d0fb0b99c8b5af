#include "tests/check.h"

#include "run/resume_notes.h"

#include <stdlib.h>

static const char *const needed[] = {"run.dir=runs/x",        "encoder.model=e",
                                     "decoder.model=d",       "data.tokens=tokens.h5",
                                     "data.encoder_stream=e", "data.decoder_stream=d"};
enum { N_NEEDED = sizeof needed / sizeof needed[0] };

/* Those keys and up to 8 more. */
static void load(sp_run_config *config, const char *const *assignments, size_t n) {
    const char *all[N_NEEDED + 8];
    memcpy(all, needed, sizeof needed);
    for (size_t i = 0; i < n; i++) all[N_NEEDED + i] = assignments[i];
    if (sp_run_config_load(config, NULL, all, N_NEEDED + n) != SP_OK) fail_msg("%s", sp_message());
}

/* The notes on `now` against `saved`, of 'runs/x/step-0000004'. */
static void assert_notes(const char *const *now, size_t n_now, const char *const *saved,
                         size_t n_saved, const char *expected) {
    sp_run_config here = {0}, there = {0};
    char *lines = NULL;
    load(&here, now, n_now);
    load(&there, saved, n_saved);
    assert_int_equal(sp_resume_notes(&lines, &here, &there, "runs/x/step-0000004"), SP_OK);
    assert_string_equal(lines, expected);
    free(lines);
    sp_run_config_free(&here);
    sp_run_config_free(&there);
}

static void same_configuration_has_no_notes(void **state) {
    const char *const keys[] = {"train.lr=3e-4", "encoder.lora.targets=q,v", "train.steps=10"};
    assert_notes(keys, 3, keys, 3, "");
    const char *const spelled[] = {"train.lr=0.0003", "encoder.lora.targets=[q, v]",
                                   "train.steps=0.01K"};
    assert_notes(spelled, 3, keys, 3, "");
}

static void each_changed_key_says_which_value_wins(void **state) {
    const char *const now[] = {"train.lr=3e-4", "run.dir=runs/y", "train.steps=12",
                               "encoder.lora.targets=q,v", "train.schedule=constant"};
    const char *const saved[] = {"train.lr=1e-4", "encoder.lora.targets=q", "train.stop_at_step=4"};
    assert_notes(now, 5, saved, 3,
                 "run.dir: runs/y here wins over runs/x of 'runs/x/step-0000004'\n"
                 "encoder.lora.targets: [\"q\",\"v\"] here wins over [\"q\"] of "
                 "'runs/x/step-0000004'\n"
                 "train.steps: 12 here wins over auto of 'runs/x/step-0000004'\n"
                 "train.stop_at_step: null here wins over 4 of 'runs/x/step-0000004'\n"
                 "train.lr: 0.0003 here wins over 0.0001 of 'runs/x/step-0000004'\n"
                 "train.schedule: constant here wins over cosine of 'runs/x/step-0000004'\n");
}

/* Weights to begin from are read before the first step only. */
static void another_init_is_said_to_be_without_effect(void **state) {
    const char *const now[] = {"train.init=runs/b"};
    assert_notes(now, 1, NULL, 0,
                 "train.init: runs/b is not read: weights come from 'runs/x/step-0000004', which "
                 "began from null\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_configuration_has_no_notes),
                                       cmocka_unit_test(each_changed_key_says_which_value_wins),
                                       cmocka_unit_test(another_init_is_said_to_be_without_effect)};
    return cmocka_run_group_tests_name("resume_notes", tests, NULL, NULL);
}
