#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/json.h"
#include "run/metrics.h"

#include <stdlib.h>

static char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(path, dir, "metrics.jsonl");
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static const sp_step_metrics a_step = {.step = 7,
                                       .loss_sum = {30, 8},
                                       .n_targets = {10, 4},
                                       .grad_norm = 0.75,
                                       .lr = 1e-4,
                                       .n_tokens = 96,
                                       .flop = 5e9,
                                       .peak = 1e10,
                                       .seconds = 2,
                                       .seconds_data = 0.25,
                                       .seconds_communication = 0.5,
                                       .timing = {.slowest_rank = 3,
                                                  .slowest_host = "n2",
                                                  .slowest_seconds = 1.75,
                                                  .balance = 0.875,
                                                  .bubble = 0.25},
                                       .seconds_checkpoint = 0.125};

static const sp_count_list one_ratio = {{4}, 1}, two_ratios = {{4, 16}, 2};

static const sp_validation_metrics a_validation = {
    .step = 7,
    .n_segments = 5,
    .all = {.loss_sum = {12, 9}, .n_targets = {8, 6}, .n_correct = {2, 3}},
    .ratios = &one_ratio,
    .by_ratio = {{.loss_sum = {12, 9}, .n_targets = {8, 6}, .n_correct = {2, 3}}},
    .seconds = 1.5};

/* The only line of the file, as an object. */
static json_t *read_line(void) {
    size_t n_bytes = 0;
    char *text = temp_read(path, &n_bytes);
    assert_true(n_bytes > 0 && strchr(text, '\n') == text + n_bytes - 1);
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    free(text);
    return line;
}

typedef struct pair {
    const char *key;
    double value; /* NAN: null */
} pair;

/* What a step's line has that is no number. */
static void assert_host_and_skipped(const char *host, bool is_skipped) {
    json_t *line = read_line();
    assert_string_equal(json_string_value(json_object_get(line, "slowest_host")), host);
    assert_true(json_is_boolean(json_object_get(line, "skipped")));
    assert_int_equal(json_is_true(json_object_get(line, "skipped")), is_skipped);
    json_decref(line);
}

/* Its numbers and nulls are these. */
static void assert_line_is(const pair *pairs, size_t n) {
    json_t *line = read_line();
    json_object_del(line, "slowest_host");
    json_object_del(line, "skipped");
    assert_int_equal(json_object_size(line), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(line, pairs[i].key);
        if (isnan(pairs[i].value)) {
            assert_true(json_is_null(value));
        } else {
            assert_true(json_is_number(value));
            assert_close(json_number_value(value), pairs[i].value, 1e-12);
        }
    }
    assert_true(json_is_integer(json_object_get(line, "step")));
    json_decref(line);
}
#define ASSERT_LINE_IS(...) \
    assert_line_is((const pair[]){__VA_ARGS__}, sizeof((const pair[]){__VA_ARGS__}) / sizeof(pair))

static void a_step_has_each_key(void **state) {
    sp_metrics metrics = {0};
    must(sp_metrics_open(&metrics, dir, 0));
    must(sp_metrics_write_step(&metrics, &a_step));
    ASSERT_LINE_IS({"step", 7}, {"loss_reconstruction", 3}, {"loss_completion", 2},
                   {"grad_norm", 0.75}, {"lr", 1e-4}, {"tokens", 96}, {"tokens_per_second", 48},
                   {"flops_per_second", 2.5e9}, {"mfu", 0.25}, {"seconds", 2},
                   {"seconds_data", 0.25}, {"seconds_communication", 0.5},
                   {"seconds_checkpoint", 0.125}, {"slowest_rank", 3}, {"slowest_seconds", 1.75},
                   {"balance", 0.875}, {"bubble", 0.25});
    assert_host_and_skipped("n2", false);
    sp_metrics_close(&metrics);
}

static void a_validation_has_each_key(void **state) {
    sp_metrics metrics = {0};
    must(sp_metrics_open(&metrics, dir, 0));
    must(sp_metrics_write_validation(&metrics, &a_validation));
    ASSERT_LINE_IS(
        {"step", 7}, {"validation_loss_reconstruction", 1.5}, {"validation_loss_completion", 1.5},
        {"validation_accuracy_reconstruction", 0.25}, {"validation_accuracy_completion", 0.5},
        {"validation_segments", 5}, {"validation_seconds", 1.5});
    sp_metrics_close(&metrics);
}

static void each_of_several_ratios_has_keys_of_its_own(void **state) {
    sp_metrics metrics = {0};
    sp_step_metrics step = a_step;
    sp_validation_metrics m = a_validation;
    m.ratios = &two_ratios;
    m.by_ratio[0] =
        (sp_validation_sums){.loss_sum = {4, 6}, .n_targets = {4, 3}, .n_correct = {2, 3}};
    m.by_ratio[1] = (sp_validation_sums){.loss_sum = {8, 3}, .n_targets = {4, 0}, .n_correct = {1}};
    must(sp_metrics_open(&metrics, dir, 0));
    must(sp_metrics_write_validation(&metrics, &m));
    ASSERT_LINE_IS(
        {"step", 7}, {"validation_loss_reconstruction", 1.5}, {"validation_loss_completion", 1.5},
        {"validation_accuracy_reconstruction", 0.25}, {"validation_accuracy_completion", 0.5},
        {"validation_loss_reconstruction_4x", 1}, {"validation_loss_completion_4x", 2},
        {"validation_accuracy_reconstruction_4x", 0.5}, {"validation_accuracy_completion_4x", 1},
        {"validation_loss_reconstruction_16x", 2}, {"validation_loss_completion_16x", NAN},
        {"validation_accuracy_reconstruction_16x", 0.25},
        {"validation_accuracy_completion_16x", NAN}, {"validation_segments", 5},
        {"validation_seconds", 1.5});
    sp_metrics_close(&metrics);
    remove(path);
    must(sp_metrics_open(&metrics, dir, 0));
    step.ratio = 16;
    must(sp_metrics_write_step(&metrics, &step));
    json_t *line = read_line();
    assert_int_equal(json_integer_value(json_object_get(line, "ratio")), 16);
    json_decref(line);
    sp_metrics_close(&metrics);
}

static void what_is_no_number_is_null(void **state) {
    sp_metrics metrics = {0};
    sp_step_metrics m = a_step;
    m.n_targets[SP_COMPLETION] = 0; /* no target */
    m.loss_sum[SP_RECONSTRUCTION] = INFINITY;
    m.grad_norm = NAN;
    m.peak = 0;
    m.is_skipped = true;
    must(sp_metrics_open(&metrics, dir, 0));
    must(sp_metrics_write_step(&metrics, &m));
    ASSERT_LINE_IS({"step", 7}, {"loss_reconstruction", NAN}, {"loss_completion", NAN},
                   {"grad_norm", NAN}, {"lr", 1e-4}, {"tokens", 96}, {"tokens_per_second", 48},
                   {"flops_per_second", 2.5e9}, {"mfu", NAN}, {"seconds", 2},
                   {"seconds_data", 0.25}, {"seconds_communication", 0.5},
                   {"seconds_checkpoint", 0.125}, {"slowest_rank", 3}, {"slowest_seconds", 1.75},
                   {"balance", 0.875}, {"bubble", 0.25});
    assert_host_and_skipped("n2", true);
    sp_metrics_close(&metrics);
}

/* Each line is in the file when the call returns: a kill takes none of them. */
static void lines_follow_each_other(void **state) {
    sp_metrics metrics = {0};
    must(sp_metrics_open(&metrics, dir, 0));
    for (int i = 1; i <= 20; i++) {
        must(sp_metrics_write_step(&metrics, &a_step));
        size_t n_bytes = 0, n_lines = 0;
        char *text = temp_read(path, &n_bytes);
        for (size_t k = 0; k < n_bytes; k++) n_lines += text[k] == '\n';
        assert_int_equal(n_lines, i);
        free(text);
    }
    sp_metrics_close(&metrics);
}

/* Opens the file that holds `text` for a run that goes on after `step`, appends `then` by hand and
   expects the file to be `kept` and that. */
static void assert_trimmed(const char *text, uint64_t step, const char *kept) {
    sp_metrics metrics = {0};
    temp_write(path, text, strlen(text));
    must(sp_metrics_open(&metrics, dir, step));
    fputs("end\n", metrics.file);
    sp_metrics_close(&metrics);
    size_t n_bytes = 0, n_kept = strlen(kept);
    char *now = temp_read(path, &n_bytes);
    assert_int_equal(n_bytes, n_kept + 4);
    assert_memory_equal(now, kept, n_kept);
    assert_string_equal(now + n_kept, "end\n");
    free(now);
    assert_int_equal(temp_count(dir), 1);
}

#define STEP1 "{\"step\":1,\"lr\":0.5}\n"
#define STEP2 "{\"step\": 2, \"lr\": 0.5}\n" /* other spacing stays as it is */
#define VALID2 "{\"step\":2,\"validation_segments\":3}\n"
#define STEP3 "{\"step\":3,\"lr\":0.5}\n"

static void lines_beyond_the_step_are_taken_out(void **state) {
    assert_trimmed(STEP1 STEP2 VALID2 STEP3, 2, STEP1 STEP2 VALID2);
    assert_trimmed(STEP1 STEP2 VALID2 STEP3, 9, STEP1 STEP2 VALID2 STEP3);
    assert_trimmed(STEP1 STEP2 VALID2 STEP3, 0, "");
    assert_trimmed("", 5, "");
}

static void a_line_cut_anywhere_is_taken_out(void **state) {
    char text[sizeof STEP1 STEP2];
    const size_t n_first = strlen(STEP1), n = strlen(STEP1 STEP2);
    for (size_t cut = n_first; cut < n; cut++) {
        memcpy(text, STEP1 STEP2, cut);
        text[cut] = '\0';
        assert_trimmed(text, 9, STEP1);
    }
    assert_trimmed(STEP1 STEP2, 9, STEP1 STEP2);
}

static void lines_that_are_none_of_ours_are_taken_out(void **state) {
    assert_trimmed(STEP1 "nonsense\n\n[3]\n{\"lr\":1}\n{\"step\":\"2\"}\n{\"step\":-1}\n" STEP2, 9,
                   STEP1 STEP2);
}

static void a_folder_without_metrics_gets_them(void **state) {
    sp_metrics metrics = {0};
    must(sp_metrics_open(&metrics, dir, 1000));
    sp_metrics_close(&metrics);
    sp_metrics_close(&metrics);
    assert_int_equal(temp_count(dir), 1);
}

static void failures_name_the_file(void **state) {
    sp_metrics metrics = {0};
    char missing[TEMP_PATH_SIZE];
    assert_int_equal(sp_metrics_open(&metrics, temp_path(missing, dir, "none"), 0), SP_IO);
    assert_non_null(strstr(sp_message(), "none/metrics.jsonl"));
    sp_metrics_close(&metrics);

    must(sp_metrics_open(&metrics, dir, 0));
    temp_limit_files(300);
    sp_status status = SP_OK;
    for (int i = 0; i < 3 && status == SP_OK; i++)
        status = sp_metrics_write_step(&metrics, &a_step);
    temp_limit_files(UINT64_MAX);
    assert_int_equal(status, SP_IO);
    assert_non_null(strstr(sp_message(), path));
    sp_metrics_close(&metrics);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_step_has_each_key),
        TEST(a_validation_has_each_key),
        TEST(each_of_several_ratios_has_keys_of_its_own),
        TEST(what_is_no_number_is_null),
        TEST(lines_follow_each_other),
        TEST(lines_beyond_the_step_are_taken_out),
        TEST(a_line_cut_anywhere_is_taken_out),
        TEST(lines_that_are_none_of_ours_are_taken_out),
        TEST(a_folder_without_metrics_gets_them),
        TEST(failures_name_the_file),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
