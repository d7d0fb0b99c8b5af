#include "tests/check.h"
#include "tests/parts_corpus.h"
#include "tests/temp_folder.h"

#include "io/tokens_part.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static void journal_path_of(char path[TEMP_PATH_SIZE], size_t writer) {
    char *made = NULL;
    const sp_tokens_job job = parts_job("work");
    assert_int_equal(sp_tokens_journal_path(&made, parts_index, &job, writer), SP_OK);
    snprintf(path, TEMP_PATH_SIZE, "%s", made);
    free(made);
}

/* A writer that was killed, wherever its journal ends: another one, with another number, does what
   is missing. */
static void journal_cut_anywhere_goes_on(void **state) {
    const parts_split of = {.n_blocks = 4, .n_writers = 1, .bounds = {0, 10, 10, 25, 40}};
    const sp_tokens_job job = parts_job("work");
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0, n_kept_before = 0;
    parts_write_plain(parts_plain, 40);
    parts_write_journals(&of, "work");
    journal_path_of(path, 0);
    char *data = temp_read(path, &n_bytes);
    size_t cut = 0;
    for (bool is_last = false; !is_last; cut += 97) {
        is_last = cut >= n_bytes;
        if (is_last) cut = n_bytes;
        const sp_tokens_block *blocks = NULL;
        sp_journal_writer *again = NULL, *other = NULL;
        sp_tokens_plan *plan = NULL;
        temp_write(path, data, cut);
        assert_int_equal(sp_tokens_plan_create(&plan, parts_index, &job, 4), SP_OK);
        assert_int_equal(parts_open_journal(&again, 0, "work"), SP_OK);
        assert_int_equal(parts_open_journal(&other, 1, "work"), SP_OK);
        const size_t n_kept = sp_journal_writer_blocks(again, &blocks);
        assert_true(n_kept >= n_kept_before); /* more bytes, more blocks */
        n_kept_before = n_kept;
        for (size_t b = 0; b < 4; b++) {
            assert_int_equal(sp_tokens_plan_has(plan, b), b < n_kept);
            if (b >= n_kept) parts_put_block(b % 2 ? other : again, &of, b);
        }
        sp_journal_writer_close(again);
        sp_journal_writer_close(other);
        sp_tokens_plan_destroy(plan);
        assert_int_equal(parts_write_parts(&of, "work"), SP_OK);
        parts_assert_same_datasets(parts_plain, parts_index);
    }
    assert_int_equal(n_kept_before, 4);
    free(data);
}

static void block_that_was_not_ended_does_not_count(void **state) {
    const parts_split of = {.n_blocks = 2, .n_writers = 1, .bounds = {0, 10, 20}};
    const sp_tokens_job job = parts_job("work");
    sp_journal_writer *journal = NULL;
    sp_tokens_plan *plan = NULL;
    char path[TEMP_PATH_SIZE];
    struct stat before, after;
    assert_int_equal(sp_tokens_parts_create(parts_index), SP_OK);
    assert_int_equal(parts_open_journal(&journal, 0, "work"), SP_OK);
    parts_put_block(journal, &of, 0);
    journal_path_of(path, 0);
    assert_int_equal(stat(path, &before), 0);
    const parts_sink to = {.journal = journal};
    assert_int_equal(sp_journal_writer_begin(journal, 1), SP_OK);
    for (uint64_t d = 0; d < 60000; d++) assert_int_equal(parts_put_document(&to, d), SP_OK);
    sp_journal_writer_close(journal);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size); /* the room is given back */
    assert_int_equal(sp_tokens_plan_create(&plan, parts_index, &job, 2), SP_OK);
    assert_int_equal(sp_tokens_plan_settle(plan), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "block 1 of 2"));
    sp_tokens_plan_destroy(plan);
}

static bool is_done(const char *path, const sp_tokens_job *job) {
    char *summary = NULL;
    assert_int_equal(sp_tokens_find_done(&summary, path, job), SP_OK);
    const bool is_there = summary != NULL;
    if (is_there) assert_string_equal(summary, "{}");
    free(summary);
    return is_there;
}

/* Killed for real, between any two calls; then another number of writers goes on. */
static void killed_writers_lose_no_block(void **state) {
    enum { N_BLOCKS = 40 };
    parts_split of = {.n_blocks = N_BLOCKS, .n_writers = 3};
    const sp_tokens_job job = parts_job("work"), another = parts_job("another");
    for (size_t b = 0; b < N_BLOCKS; b++) of.bounds[b + 1] = 20 * (b + 1);
    parts_write_plain(parts_plain, 800);
    assert_int_equal(sp_tokens_parts_create(parts_index), SP_OK);
    size_t n_done = 0, n_rounds = 0;
    for (; n_done < N_BLOCKS && n_rounds < 1000; n_rounds++) {
        const size_t writer = n_rounds % of.n_writers, n_before = n_done;
        sp_tokens_plan *plan = NULL;
        assert_int_equal(sp_tokens_plan_create(&plan, parts_index, &job, N_BLOCKS), SP_OK);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            sp_journal_writer *journal = NULL;
            if (parts_open_journal(&journal, writer, "work") != SP_OK) _exit(1);
            for (size_t b = 0; b < N_BLOCKS; b++)
                if (!sp_tokens_plan_has(plan, b)) parts_put_block(journal, &of, b);
            _exit(0);
        }
        usleep(500 + (useconds_t)(parts_mix(n_rounds) % 6000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        sp_tokens_plan_destroy(plan);
        assert_int_equal(sp_tokens_plan_create(&plan, parts_index, &job, N_BLOCKS), SP_OK);
        n_done = 0;
        for (size_t b = 0; b < N_BLOCKS; b++) n_done += sp_tokens_plan_has(plan, b);
        sp_tokens_plan_destroy(plan);
        assert_true(n_done >= n_before);
    }
    assert_int_equal(n_done, N_BLOCKS);
    assert_true(n_rounds > 1);
    assert_false(is_done(parts_index, &job));
    assert_int_equal(parts_write_parts(&of, "work"), SP_OK);
    parts_assert_same_datasets(parts_plain, parts_index);
    assert_true(is_done(parts_index, &job));
    assert_false(is_done(parts_index, &another));
    assert_true(is_done(parts_plain, &job));
    char part[TEMP_PATH_SIZE];
    assert_int_equal(unlink(temp_path(part, parts_dir, "corpus.parts/part-0001-" PARTS_TAG ".h5")),
                     0);
    assert_false(is_done(parts_index, &job));
}

static void journals_of_two_jobs_do_not_meet(void **state) {
    const parts_split of = {.n_blocks = 1, .n_writers = 1, .bounds = {0, 10}};
    sp_journal_writer *journal = NULL, *second = NULL;
    char path[TEMP_PATH_SIZE];
    parts_write_journals(&of, "work");
    assert_int_equal(parts_write_parts(&of, "another"), SP_BAD_DATA); /* which has no blocks */
    journal_path_of(path, 0);
    /* The name is of the job "work", but not the contents. */
    const sp_tokens_job another = parts_job("another");
    assert_int_equal(sp_journal_writer_open(&journal, path, &another), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), path));
    assert_non_null(strstr(sp_message(), "another run"));
    temp_write(path, "no journal, but some text", 25);
    assert_int_equal(parts_open_journal(&journal, 0, "work"), SP_BAD_DATA);
    temp_write(path, "", 0); /* killed at once */
    assert_int_equal(parts_open_journal(&journal, 0, "work"), SP_OK);
    assert_int_equal(parts_open_journal(&second, 0, "work"),
                     SP_FAILURE); /* while the first is open */
    sp_journal_writer_close(journal);
}

/* Refused, or of no consequence, where only who drops documents would read it. */
static void flipped_byte_in_a_journal_changes_nothing(void **state) {
    const parts_split of = {.n_blocks = 2, .n_writers = 1, .bounds = {0, 10, 25}};
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0, n_refused = 0, n_tried = 0;
    parts_write_plain(parts_plain, 25);
    parts_write_journals(&of, "work");
    journal_path_of(path, 0);
    char *data = temp_read(path, &n_bytes);
    for (size_t at = 0; at < n_bytes; at += 7, n_tried++) {
        data[at] = (char)(data[at] ^ 0x41);
        temp_write(path, data, n_bytes);
        const sp_status status = parts_write_parts(&of, "work");
        if (status == SP_OK)
            parts_assert_same_datasets(parts_plain, parts_index);
        else
            assert_int_equal(status, SP_BAD_DATA);
        n_refused += status != SP_OK;
        data[at] = (char)(data[at] ^ 0x41);
    }
    assert_true(n_refused > n_tried * 3 / 4);
    free(data);
}

static void full_disk_leaves_what_was_complete(void **state) {
    const parts_split of = {.n_blocks = 1, .n_writers = 1, .bounds = {0, 400}};
    sp_journal_writer *journal = NULL;
    sp_status status = SP_OK;
    assert_int_equal(sp_tokens_parts_create(parts_index), SP_OK);
    assert_int_equal(parts_open_journal(&journal, 0, "work"), SP_OK);
    temp_limit_files(1000);
    assert_int_equal(sp_journal_writer_begin(journal, 0), SP_OK);
    const parts_sink to = {.journal = journal};
    for (uint64_t d = 0; d < 400 && status == SP_OK; d++) status = parts_put_document(&to, d);
    if (status == SP_OK) status = sp_journal_writer_end(journal, NULL);
    temp_limit_files(UINT64_MAX);
    assert_int_equal(status, SP_IO);
    sp_journal_writer_close(journal);
    parts_write_plain(parts_plain, 400);
    parts_write_index(&of);
    parts_assert_same_datasets(parts_plain, parts_index);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, parts_set_up, parts_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(journal_cut_anywhere_goes_on),
        TEST(block_that_was_not_ended_does_not_count),
        TEST(killed_writers_lose_no_block),
        TEST(journals_of_two_jobs_do_not_meet),
        TEST(flipped_byte_in_a_journal_changes_nothing),
        TEST(full_disk_leaves_what_was_complete),
    };
    return cmocka_run_group_tests_name("tokens_journal", tests, NULL, NULL);
}
