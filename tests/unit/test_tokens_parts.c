#include "tests/check.h"
#include "tests/parts_corpus.h"
#include "tests/temp_folder.h"

#include "io/tokens_merge.h"
#include "io/tokens_part.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static void any_split_over_writers_is_the_plain_file(void **state) {
    for (uint64_t seed = 1; seed <= 25; seed++) {
        const uint64_t n_documents = 1 + parts_mix(seed + 77) % 120 + (seed == 1 ? 3 : 0);
        const parts_split of =
            parts_random_split(seed, n_documents + 2); /* document 2 has segments */
        parts_write_plain(parts_plain, n_documents + 2);
        parts_write_index(&of);
        parts_assert_same_datasets(parts_plain, parts_index);
        parts_assert_same_reading(parts_plain, parts_index);
    }
}

static void index_has_no_byte_of_time_or_place(void **state) {
    const parts_split of = parts_random_split(5, 60);
    size_t n_first = 0, n_second = 0;
    parts_write_index(&of);
    char *first = temp_read(parts_index, &n_first);
    sleep(1);
    parts_write_index(&of);
    char *second = temp_read(parts_index, &n_second);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    assert_null(memmem(first, n_first, parts_dir, strlen(parts_dir)));
    free(second);
    free(first);
}

static void chunks_and_frames_are_crossed(void **state) {
    parts_split of = {.n_blocks = 3, .n_writers = 2, .bounds = {0, 9000, 9001, 25000}};
    of.owner[1] = 1;
    parts_write_plain(parts_plain, 25000);
    parts_write_index(&of);
    parts_assert_same_datasets(parts_plain, parts_index);
    parts_assert_same_reading(parts_plain, parts_index);
}

static void more_parts_than_stay_open_are_read(void **state) {
    parts_split of = {.n_blocks = 150, .n_writers = 150};
    for (size_t b = 0; b < 150; b++) {
        of.bounds[b + 1] = 5 * (b + 1);
        of.owner[b] = b;
    }
    parts_write_plain(parts_plain, 750);
    parts_write_index(&of);
    parts_assert_same_reading(parts_plain, parts_index);
}

static void folder_can_be_moved_and_the_index_renamed(void **state) {
    char moved[TEMP_PATH_SIZE], from[TEMP_PATH_SIZE], to[TEMP_PATH_SIZE], name[TEMP_PATH_SIZE];
    const parts_split of = parts_random_split(3, 50);
    parts_write_plain(parts_plain, 50);
    parts_write_index(&of);
    mkdir(temp_path(moved, parts_dir, "elsewhere"), 0777);
    assert_int_equal(rename(parts_index, temp_path(name, moved, "other.h5")), 0);
    assert_int_equal(
        rename(temp_path(from, parts_dir, "corpus.parts"), temp_path(to, moved, "corpus.parts")),
        0);
    parts_assert_same_datasets(parts_plain, name);
    parts_assert_same_reading(parts_plain, name);
}

/* Of the run that is replaced nothing stays, and nothing of the new one goes. */
static void replaced_index_takes_its_parts_along(void **state) {
    char parts[TEMP_PATH_SIZE];
    const parts_split of = {
        .n_blocks = 3, .n_writers = 3, .bounds = {0, 8, 16, 25}, .owner = {0, 1, 2}};
    parts_write_index(&of);
    assert_int_equal(temp_count(temp_path(parts, parts_dir, "corpus.parts")), 3);
    parts_write_journals(&parts_in_two, "another");
    assert_int_equal(temp_count(parts), 5); /* the old index can be read until the last moment */
    assert_int_equal(parts_read_all(parts_index), SP_OK);
    assert_int_equal(parts_write_parts(&parts_in_two, "another"), SP_OK);
    assert_int_equal(temp_count(parts), 2);
    assert_int_equal(parts_read_all(parts_index), SP_OK);
}

static void plain_file_of_one_writer_is_the_merged_one(void **state) {
    char merged[TEMP_PATH_SIZE], parts[TEMP_PATH_SIZE];
    size_t n = 0, n_expected = 0;
    sp_tokens_plan *plan = NULL;
    const parts_split one = {.n_blocks = 3, .n_writers = 1, .bounds = {0, 8, 16, 50}};
    const sp_tokens_job job = parts_job("work");
    char name[] = "shard";
    const sp_tokens_source source = {name, 123, 50};
    parts_write_index(&parts_in_two);
    assert_int_equal(sp_tokens_merge(temp_path(merged, parts_dir, "merged.h5"), parts_index),
                     SP_OK);
    parts_write_journals(&one, "work");
    assert_int_equal(sp_tokens_plan_create(&plan, parts_index, &job, one.n_blocks), SP_OK);
    assert_int_equal(sp_tokens_plan_settle(plan), SP_OK);
    assert_true(sp_tokens_plan_has_one_part(plan));
    assert_int_equal(sp_tokens_plain_write(plan, &source, 1, "{}"), SP_OK);
    sp_tokens_plan_destroy(plan);
    assert_int_equal(sp_tokens_journals_remove(parts_index), SP_OK);
    assert_int_not_equal(access(temp_path(parts, parts_dir, "corpus.parts"), F_OK), 0);
    char *expected = temp_read(merged, &n_expected), *data = temp_read(parts_index, &n);
    assert_int_equal(n, n_expected);
    assert_memory_equal(data, expected, n);
    free(data);
    free(expected);
}

static void merged_file_is_the_plain_file(void **state) {
    char merged[TEMP_PATH_SIZE];
    temp_path(merged, parts_dir, "merged.h5");
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const parts_split of = parts_random_split(seed, 100);
        size_t n_expected = 0, n = 0;
        parts_write_plain(parts_plain, 100);
        parts_write_index(&of);
        assert_int_equal(sp_tokens_merge(merged, parts_index), SP_OK);
        char *expected = temp_read(parts_plain, &n_expected), *data = temp_read(merged, &n);
        assert_int_equal(n, n_expected);
        assert_memory_equal(data, expected, n);
        free(data);
        free(expected);
    }
}

static void name_that_hdf5_would_expand_is_refused(void **state) {
    char path[TEMP_PATH_SIZE];
    assert_int_equal(sp_tokens_parts_create(temp_path(path, parts_dir, "a%b.h5")), SP_USAGE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, parts_set_up, parts_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(any_split_over_writers_is_the_plain_file),
        TEST(index_has_no_byte_of_time_or_place),
        TEST(chunks_and_frames_are_crossed),
        TEST(more_parts_than_stay_open_are_read),
        TEST(folder_can_be_moved_and_the_index_renamed),
        TEST(replaced_index_takes_its_parts_along),
        TEST(plain_file_of_one_writer_is_the_merged_one),
        TEST(merged_file_is_the_plain_file),
        TEST(name_that_hdf5_would_expand_is_refused),
    };
    return cmocka_run_group_tests_name("tokens_parts", tests, NULL, NULL);
}
