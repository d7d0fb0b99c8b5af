/* The best checkpoint: what counts as better, and which folder is left after what. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/checkpoint.h"
#include "run/best_checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static char dir[TEMP_PATH_SIZE];

static int set_up(void **state) {
    temp_folder_create(dir);
    return 0;
}

static int tear_down(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static void save(uint64_t step) {
    const float value = (float)step;
    sp_checkpoint_writer *writer = NULL;
    sp_checkpoint_file file;
    must(sp_checkpoint_make_folder(dir, step));
    must(sp_checkpoint_begin(&writer, dir, step, 0));
    must(sp_checkpoint_write_tensor(writer, "a", 1, (const size_t[]){1}, &value));
    must(sp_checkpoint_finish(writer, &file));
    must(sp_checkpoint_publish(dir, step, &file, 1, NULL));
}

/* The only checkpoint of DIR/best is that of `step`; 0: there is none. */
static void check_best(uint64_t step) {
    char best_dir[TEMP_PATH_SIZE];
    char *path = NULL;
    temp_path(best_dir, dir, "best");
    must(sp_checkpoint_find(best_dir, &path));
    if (step == 0) {
        assert_null(path);
        return;
    }
    free(path);
    sp_checkpoint *checkpoint = NULL;
    float value = 0;
    must(sp_checkpoint_open(&checkpoint, best_dir));
    assert_int_equal(sp_checkpoint_step(checkpoint), step);
    must(sp_checkpoint_read_tensor(checkpoint, "a", 1, (const size_t[]){1}, &value));
    assert_true(value == (float)step);
    sp_checkpoint_close(checkpoint);
    assert_int_equal(temp_count(best_dir), 1);
}

static void better_is_less_by_more_than_rounding(void **state) {
    sp_best best = {0};
    assert_false(sp_best_note(&best, 1, NAN));
    assert_false(sp_best_note(&best, 2, INFINITY));
    assert_false(best.has);
    assert_true(sp_best_note(&best, 3, 2.0));
    assert_false(sp_best_note(&best, 4, 2.0));
    assert_false(sp_best_note(&best, 5, 2.0 - 1e-5));
    assert_false(sp_best_note(&best, 6, NAN));
    assert_int_equal(best.n_since, 3);
    assert_int_equal(best.step, 3);
    assert_true(sp_best_note(&best, 7, 1.9999));
    assert_int_equal(best.n_since, 0);
    assert_int_equal(best.step, 7);
}

static void a_run_ends_after_so_many_validations(void **state) {
    sp_run_config config = {.train = {.early_stop = 2}};
    sp_best best = {.has = true, .loss = 1, .n_since = 1};
    assert_false(sp_best_ends(&best, &config));
    assert_false(sp_best_note(&best, 9, 1));
    assert_true(sp_best_ends(&best, &config));
    config.train.early_stop = 0;
    assert_false(sp_best_ends(&best, &config));
}

static void state_comes_back_bit_by_bit(void **state) {
    const sp_best bests[] = {
        {0}, {.n_since = 4}, {.has = true, .loss = 0.1 + 0.2, .step = 1234567, .n_since = 3}};
    for (size_t i = 0; i < sizeof bests / sizeof bests[0]; i++) {
        json_t *object = NULL, *again = NULL;
        sp_best read = {.n_since = 77};
        must(sp_best_to_json(&object, &bests[i]));
        char *text = json_dumps(object, 0);
        again = json_loads(text, 0, NULL);
        must(sp_best_from_json(&read, again, "a test"));
        assert_int_equal(read.has, bests[i].has);
        assert_true(read.loss == bests[i].loss);
        assert_int_equal(read.step, bests[i].step);
        assert_int_equal(read.n_since, bests[i].n_since);
        free(text);
        json_decref(again);
        json_decref(object);
    }
    sp_best none = {.has = true};
    must(sp_best_from_json(&none, NULL, "a test"));
    assert_false(none.has);
    json_t *bad = json_pack("{s:s}", "loss", "low");
    assert_int_equal(sp_best_from_json(&none, bad, "a test"), SP_BAD_DATA);
    json_decref(bad);
}

static void the_best_outlives_its_original(void **state) {
    save(1);
    must(sp_best_keep(dir, 1));
    must(sp_best_keep(dir, 1));
    check_best(1);
    save(2);
    save(3);
    must(sp_checkpoint_prune(dir, 1, 0));
    check_best(1);
    must(sp_best_keep(dir, 3));
    check_best(3);
    /* One that is not there cannot be kept, and costs nothing. */
    assert_int_equal(sp_best_keep(dir, 9), SP_IO);
    check_best(3);
}

static void resumed_runs_keep_what_was_noted(void **state) {
    save(1);
    save(2);
    must(sp_best_keep(dir, 1));
    sp_best best = {.has = true, .loss = 1, .step = 1, .n_since = 1};
    must(sp_best_resume(&best, dir, 2));
    assert_true(best.has);
    check_best(1);
    /* Killed between the checkpoint and its being kept. */
    best = (sp_best){.has = true, .loss = 1, .step = 2};
    must(sp_best_resume(&best, dir, 2));
    assert_true(best.has);
    check_best(2);
    /* Gone back to a step before the best: its weights are not that run's. */
    best = (sp_best){.has = true, .loss = 1, .step = 1, .n_since = 2};
    must(sp_best_resume(&best, dir, 2));
    assert_false(best.has);
    assert_int_equal(best.n_since, 0);
    check_best(0);
    /* A new run in an old folder. */
    must(sp_best_keep(dir, 2));
    best = (sp_best){0};
    must(sp_best_resume(&best, dir, 0));
    check_best(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(better_is_less_by_more_than_rounding),
        cmocka_unit_test(a_run_ends_after_so_many_validations),
        cmocka_unit_test(state_comes_back_bit_by_bit),
        cmocka_unit_test_setup_teardown(the_best_outlives_its_original, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resumed_runs_keep_what_was_noted, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("best_checkpoint", tests, NULL, NULL);
}
