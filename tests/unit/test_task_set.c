/* Rows as ids: contexts kept once and held out whole, what a digest tells apart, rows left out. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "run/task_set.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_CONTEXTS = 60, SEGMENT = 8 };

static temp_file rows_file, held_out_file;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static void write_row(FILE *file, int context, int question) {
    fprintf(file,
            "{\"context\": \"the river ran down to bridge %d and bread\", \"prompt\": \"%d?\", "
            "\"answer\": \"boat %d\"}\n",
            context, question, context + question);
}

/* Two questions about each context, far from each other. */
static int write_files(void **state) {
    temp_folder_create(rows_file.dir);
    FILE *file = fopen(temp_path(rows_file.path, rows_file.dir, "rows.jsonl"), "w");
    for (int question = 0; question < 2; question++)
        for (int i = 0; i < N_CONTEXTS; i++) write_row(file, i, question);
    fclose(file);
    file = fopen(temp_path(held_out_file.path, rows_file.dir, "held-out.jsonl"), "w");
    for (int i = 0; i < 5; i++) write_row(file, i, 7);
    fclose(file);
    return 0;
}

static int remove_files(void **state) {
    temp_folder_remove(rows_file.dir);
    return 0;
}

/* Reads with `assignments` [n] over a small configuration. */
static sp_status read_set(sp_task_set *set, const char *rows, const char *const *assignments,
                          size_t n, sp_on_error on_error) {
    char key[TEMP_PATH_SIZE + 16];
    const char *const keys[] = {"encoder.model=tests/fixtures/models/llama-tiny",
                                "decoder.model=tests/fixtures/models/llama-tied-bf16",
                                "segment.tokens=8", "segment.ratio=4", "data.validation=0.3"};
    sp_run_config config = {0};
    *set = (sp_task_set){0};
    snprintf(key, sizeof key, "data.rows=%s", rows);
    must(sp_config_init(&config, &sp_run_config_table));
    must(sp_config_assign(&config, &sp_run_config_table, key));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        must(sp_config_assign(&config, &sp_run_config_table, keys[i]));
    for (size_t i = 0; i < n; i++)
        must(sp_config_assign(&config, &sp_run_config_table, assignments[i]));
    const sp_status status = sp_task_set_read(set, &config, on_error);
    sp_run_config_free(&config);
    return status;
}

static void contexts_are_kept_once_and_held_out_whole(void **state) {
    sp_task_set set;
    size_t n_held_out = 0;
    must(read_set(&set, rows_file.path, NULL, 0, SP_ON_ERROR_STOP));
    assert_int_equal(set.n_tasks, 2 * N_CONTEXTS);
    assert_int_equal(set.n_contexts, N_CONTEXTS);
    for (size_t i = 0; i < N_CONTEXTS; i++) {
        const sp_task *first = &set.tasks[i], *second = &set.tasks[N_CONTEXTS + i];
        assert_int_equal(first->context, i);
        assert_int_equal(second->context, i);
        assert_int_equal(first->is_held_out, second->is_held_out);
        assert_int_equal(second->line, N_CONTEXTS + i + 1);
        n_held_out += first->is_held_out;
    }
    assert_in_range(n_held_out, N_CONTEXTS / 10, N_CONTEXTS / 2); /* 0.3 of them */
    sp_task_set_free(&set);
    sp_task_set_free(&set);
}

static void segments_are_full_but_for_the_last(void **state) {
    sp_task_set set;
    must(read_set(&set, rows_file.path, NULL, 0, SP_ON_ERROR_STOP));
    for (size_t i = 0; i < set.n_tasks; i++) {
        const sp_question question = sp_task_question(&set, i);
        size_t n = 0;
        assert_true(question.n_segments > 1);
        for (size_t k = 0; k < question.n_segments; k++) {
            assert_in_range(question.segment_lens[k], 1, SEGMENT);
            if (k + 1 < question.n_segments)
                assert_int_equal(question.segment_lens[k], SEGMENT); /* ASCII is cut anywhere */
            n += question.segment_lens[k];
        }
        assert_int_equal(n, sp_task_context_tokens(&set, set.tasks[i].context));
        assert_true(question.n_answer > 0 && question.n_prompt > 0 && question.n_before == 0);
        assert_true(question.end >= 0);
    }
    sp_task_set_free(&set);
}

static void a_file_of_their_own_holds_rows_out(void **state) {
    char key[TEMP_PATH_SIZE + 32];
    const char *const keys[] = {key};
    sp_task_set set;
    snprintf(key, sizeof key, "data.validation_rows=%s", held_out_file.path);
    must(read_set(&set, rows_file.path, keys, 1, SP_ON_ERROR_STOP));
    assert_int_equal(set.n_tasks, 2 * N_CONTEXTS + 5);
    for (size_t i = 0; i < set.n_tasks; i++)
        assert_int_equal(set.tasks[i].is_held_out, i >= 2 * N_CONTEXTS);
    assert_int_equal(set.n_contexts, N_CONTEXTS); /* theirs are among them */
    sp_task_set_free(&set);
}

static void digests_differ_where_training_would(void **state) {
    static const char *const changes[] = {"data.validation=0.9", "segment.tokens=9",
                                          "decoder.model=tests/fixtures/models/gpt2-tiny",
                                          "encoder.model=tests/fixtures/models/gpt2-tiny"};
    char first[SP_TASK_DIGEST_SIZE];
    sp_task_set set;
    must(read_set(&set, rows_file.path, NULL, 0, SP_ON_ERROR_STOP));
    memcpy(first, set.digest, sizeof first);
    sp_task_set_free(&set);
    must(read_set(&set, rows_file.path, (const char *const[]){"segment.ratio=2"}, 1,
                  SP_ON_ERROR_SKIP));
    assert_string_equal(set.digest, first); /* ids do not depend on these */
    sp_task_set_free(&set);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        must(read_set(&set, rows_file.path, &changes[i], 1, SP_ON_ERROR_STOP));
        assert_string_not_equal(set.digest, first);
        sp_task_set_free(&set);
    }
}

static void bad_rows_leave_no_trace(void **state) {
    char path[TEMP_PATH_SIZE];
    sp_task_set whole, mixed;
    size_t n_bytes = 0;
    char *text = temp_read(rows_file.path, &n_bytes);
    FILE *file = fopen(temp_path(path, rows_file.dir, "mixed.jsonl"), "w");
    /* Its context is one of the others', and its answer comes to nothing. */
    fputs("{\"context\": \"the river ran down to bridge 3 and bread\", \"prompt\": \"a\"}\n", file);
    fwrite(text, 1, n_bytes, file);
    fputs("no row\n", file);
    fclose(file);
    free(text);
    assert_int_equal(read_set(&mixed, path, NULL, 0, SP_ON_ERROR_STOP), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "mixed.jsonl', line 1: no field 'answer'"));
    assert_null(mixed.tasks);
    must(read_set(&mixed, path, NULL, 0, SP_ON_ERROR_SKIP));
    must(read_set(&whole, rows_file.path, NULL, 0, SP_ON_ERROR_STOP));
    assert_int_equal(mixed.n_skipped, 2);
    assert_int_equal(mixed.n_tasks, whole.n_tasks);
    assert_string_equal(mixed.digest, whole.digest);
    sp_task_set_free(&mixed);
    sp_task_set_free(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_are_kept_once_and_held_out_whole),
        cmocka_unit_test(segments_are_full_but_for_the_last),
        cmocka_unit_test(a_file_of_their_own_holds_rows_out),
        cmocka_unit_test(digests_differ_where_training_would),
        cmocka_unit_test(bad_rows_leave_no_trace),
    };
    return cmocka_run_group_tests_name("task_set", tests, write_files, remove_files);
}
