/* cores: 2 */
#include "tests/check.h"
#include "tests/temp_folder.h"
#include "tests/values.h"

#include "base/clock.h"
#include "io/checkpoint.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static char dir[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

/* Shapes around the number of writers and the size of a chunk, and an empty one. */
static const struct {
    const char *name;
    size_t n_dims, shape[SP_CHECKPOINT_MAX_DIMS];
} tensors[] = {{"matrix", 2, {64, 7}},    {"few rows", 2, {3, 1}},  {"empty", 2, {0, 4}},
               {"one value", 1, {1}},     {"vector", 1, {1200000}}, {"wide", 2, {5, 300000}},
               {"deep", 4, {9, 3, 1, 5}}, {"large", 2, {2500, 700}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], MOST_VALUES = 2500 * 700 };

static size_t n_values_of(size_t t) {
    size_t n_values = 1;
    for (size_t i = 0; i < tensors[t].n_dims; i++) n_values *= tensors[t].shape[i];
    return n_values;
}

static void fill(float *values, size_t t) { fill_values(values, n_values_of(t), (uint32_t)t); }

static const char *in_step(uint64_t step, const char *name) {
    static char path[TEMP_PATH_SIZE];
    char inside[64];
    snprintf(inside, sizeof inside, "step-%07ju/%s", (uintmax_t)step, name);
    return temp_path(path, dir, inside);
}

enum { N_WRITERS = 4 };

/* What the writers w of N_WRITERS write: cuts of each tensor that leave some without a row. */
static void rows_of(size_t w, size_t t, size_t *row_begin, size_t *n_rows) {
    const size_t n = tensors[t].shape[0];
    *row_begin = n * w / N_WRITERS;
    *n_rows = n * (w + 1) / N_WRITERS - *row_begin;
}

typedef struct one_writer {
    size_t number;
    sp_status status;
    sp_checkpoint_file file;
} one_writer;

static sp_status write_share(one_writer *job) {
    sp_checkpoint_writer *writer = NULL;
    float *values = malloc(MOST_VALUES * sizeof *values);
    SP_TRY(sp_checkpoint_begin(&writer, dir, 6, job->number));
    for (size_t t = 0; t < N_TENSORS; t++) {
        size_t row_begin = 0, n_rows = 0;
        rows_of(job->number, t, &row_begin, &n_rows);
        const size_t rows = tensors[t].shape[0], row = rows > 0 ? n_values_of(t) / rows : 0;
        fill(values, t);
        if (n_rows > 0)
            SP_TRY(sp_checkpoint_write_rows(writer, tensors[t].name, tensors[t].n_dims,
                                            tensors[t].shape, row_begin, n_rows,
                                            values + row_begin * row));
        else if (rows == 0 && job->number == 0)
            SP_TRY(sp_checkpoint_write_tensor(writer, tensors[t].name, tensors[t].n_dims,
                                              tensors[t].shape, values));
    }
    free(values);
    return sp_checkpoint_finish(writer, &job->file);
}

static void *write_in_thread(void *data) {
    one_writer *job = data;
    job->status = write_share(job);
    return NULL;
}

/* Writes step 6, all at once or one after the other. */
static void save_by_all(bool at_once) {
    one_writer jobs[N_WRITERS];
    sp_checkpoint_file files[N_WRITERS];
    pthread_t threads[N_WRITERS];
    assert_int_equal(sp_checkpoint_make_folder(dir, 6), SP_OK);
    for (size_t w = 0; w < N_WRITERS; w++) {
        jobs[w] = (one_writer){.number = w};
        assert_int_equal(pthread_create(&threads[w], NULL, write_in_thread, &jobs[w]), 0);
        if (!at_once) pthread_join(threads[w], NULL);
    }
    for (size_t w = 0; w < N_WRITERS; w++) {
        if (at_once) pthread_join(threads[w], NULL);
        assert_int_equal(jobs[w].status, SP_OK);
        files[w] = jobs[w].file;
    }
    assert_int_equal(sp_checkpoint_publish(dir, 6, files, N_WRITERS, NULL), SP_OK);
}

static void rows_of_several_writers_are_one_tensor(void **state) {
    float *expected = malloc(MOST_VALUES * sizeof *expected);
    float *values = malloc(MOST_VALUES * sizeof *values);
    sp_checkpoint *checkpoint = NULL;
    save_by_all(true);
    assert_int_equal(temp_count(dir), 1);
    assert_int_equal(temp_count(in_step(6, "")), N_WRITERS + 1);
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_OK);
    assert_int_equal(sp_checkpoint_n_tensors(checkpoint), N_TENSORS);
    for (size_t t = 0; t < N_TENSORS; t++) {
        const size_t rows = tensors[t].shape[0], row = rows > 0 ? n_values_of(t) / rows : 0;
        fill(expected, t);
        /* All rows, and some that begin in one writer's and end in another's. */
        const size_t ranges[][2] = {{0, rows}, {rows / 3, rows - rows / 3}, {rows / 3, rows / 3}};
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(sp_checkpoint_read_rows(checkpoint, tensors[t].name, tensors[t].n_dims,
                                                     tensors[t].shape, ranges[i][0], ranges[i][1],
                                                     values),
                             SP_OK);
            assert_memory_equal(values, expected + ranges[i][0] * row,
                                ranges[i][1] * row * sizeof *values);
        }
    }
    sp_checkpoint_close(checkpoint);
    free(values);
    free(expected);
}

static void writers_at_once_write_the_same_bytes(void **state) {
    char *alone[N_WRITERS], name[32];
    size_t n_alone[N_WRITERS], n_bytes = 0;
    save_by_all(false);
    for (size_t w = 0; w < N_WRITERS; w++) {
        snprintf(name, sizeof name, "data-%04zu.h5", w);
        alone[w] = temp_read(in_step(6, name), &n_alone[w]);
    }
    save_by_all(true);
    for (size_t w = 0; w < N_WRITERS; w++) {
        snprintf(name, sizeof name, "data-%04zu.h5", w);
        char *at_once = temp_read(in_step(6, name), &n_bytes);
        assert_int_equal(n_bytes, n_alone[w]);
        assert_memory_equal(at_once, alone[w], n_bytes);
        free(at_once);
        free(alone[w]);
    }
}

/* Two writers that claim the same rows, and one file that is not there. */
static void files_that_do_not_fit_together_are_refused(void **state) {
    const float values[4] = {0};
    const size_t shape[] = {4};
    sp_checkpoint_file files[2];
    sp_checkpoint *checkpoint = NULL;
    assert_int_equal(sp_checkpoint_make_folder(dir, 1), SP_OK);
    for (size_t w = 0; w < 2; w++) {
        sp_checkpoint_writer *writer = NULL;
        assert_int_equal(sp_checkpoint_begin(&writer, dir, 1, w), SP_OK);
        assert_int_equal(sp_checkpoint_write_rows(writer, "x", 1, shape, w, 3, values), SP_OK);
        assert_int_equal(sp_checkpoint_finish(writer, &files[w]), SP_OK);
    }
    assert_int_equal(sp_checkpoint_publish(dir, 1, files, 2, NULL), SP_OK);
    assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(1, "")), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "double"));
    unlink(in_step(1, "data-0001.h5"));
    assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(1, "")), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "data-0001.h5"));
}

enum { MANY_WRITERS = 100, FEW_DESCRIPTORS = 60 };

/* As step 8: each writer has one value of a tensor. */
static void save_by_many(void) {
    const size_t shape[] = {MANY_WRITERS};
    sp_checkpoint_file files[MANY_WRITERS];
    assert_int_equal(sp_checkpoint_make_folder(dir, 8), SP_OK);
    for (size_t w = 0; w < MANY_WRITERS; w++) {
        const float value = (float)w;
        sp_checkpoint_writer *writer = NULL;
        assert_int_equal(sp_checkpoint_begin(&writer, dir, 8, w), SP_OK);
        assert_int_equal(sp_checkpoint_write_rows(writer, "x", 1, shape, w, 1, &value), SP_OK);
        assert_int_equal(sp_checkpoint_finish(writer, &files[w]), SP_OK);
    }
    assert_int_equal(sp_checkpoint_publish(dir, 8, files, MANY_WRITERS, NULL), SP_OK);
}

/* Whole and backwards, by a process that may not have all files open. */
static void many_files_need_few_descriptors(void **state) {
    const size_t shape[] = {MANY_WRITERS};
    float values[MANY_WRITERS];
    struct rlimit before;
    sp_checkpoint *checkpoint = NULL;
    save_by_many();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit few = {.rlim_cur = FEW_DESCRIPTORS, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_OK);
    for (int again = 0; again < 2; again++) {
        memset(values, 0, sizeof values);
        assert_int_equal(sp_checkpoint_read_tensor(checkpoint, "x", 1, shape, values), SP_OK);
        for (size_t i = 0; i < MANY_WRITERS; i++) assert_true(values[i] == (float)i);
    }
    for (size_t i = MANY_WRITERS; i-- > 0;) {
        assert_int_equal(sp_checkpoint_read_rows(checkpoint, "x", 1, shape, i, 1, values), SP_OK);
        assert_true(values[0] == (float)i);
    }
    sp_checkpoint_close(checkpoint);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* Damage where no index of the file is: only the reader whose share it is reads that far. */
static void readers_share_the_verifying(void **state) {
    enum { N_READERS = 3, DAMAGED = 1 };
    char *bytes = NULL;
    size_t n_bytes = 0;
    save_by_all(true);
    bytes = temp_read(in_step(6, "data-0001.h5"), &n_bytes);
    bytes[n_bytes / 2] = (char)~bytes[n_bytes / 2];
    temp_write(in_step(6, "data-0001.h5"), bytes, n_bytes);
    free(bytes);
    for (size_t reader = 0; reader < N_READERS; reader++) {
        sp_checkpoint *checkpoint = NULL;
        const sp_status status =
            sp_checkpoint_open_shared(&checkpoint, in_step(6, ""), reader, N_READERS);
        assert_int_equal(status, reader == DAMAGED ? SP_BAD_DATA : SP_OK);
        if (status != SP_OK) assert_non_null(strstr(sp_message(), "data-0001.h5"));
        sp_checkpoint_close(checkpoint);
    }
}

/* A checkpoint of one value, but for its publication. */
static void finish_small(uint64_t step, sp_checkpoint_file *file) {
    const float value = (float)step;
    const size_t shape[] = {1};
    sp_checkpoint_writer *writer = NULL;
    assert_int_equal(sp_checkpoint_make_folder(dir, step), SP_OK);
    assert_int_equal(sp_checkpoint_begin(&writer, dir, step, 0), SP_OK);
    assert_int_equal(sp_checkpoint_write_tensor(writer, "step", 1, shape, &value), SP_OK);
    assert_int_equal(sp_checkpoint_finish(writer, file), SP_OK);
}

static void assert_newest(uint64_t step) {
    char *found = NULL;
    assert_int_equal(sp_checkpoint_find(dir, &found), SP_OK);
    assert_int_equal(strncmp(found, in_step(step, ""), strlen(found)), 0);
    free(found);
}

static void unpublished_step_is_no_checkpoint(void **state) {
    sp_checkpoint_file file;
    finish_small(3, &file);
    assert_int_equal(sp_checkpoint_publish(dir, 3, &file, 1, NULL), SP_OK);
    finish_small(4, &file);
    assert_newest(3);
    finish_small(4, &file); /* again, after a kill */
    assert_int_equal(sp_checkpoint_publish(dir, 4, &file, 1, NULL), SP_OK);
    assert_newest(4);
    assert_int_equal(temp_count(dir), 2);
}

typedef struct long_write {
    atomic_bool is_done;
    double seconds;
    sp_status status;
} long_write;

static void *write_for_long(void *data) {
    long_write *job = data;
    sp_checkpoint_writer *writer = NULL;
    const size_t shape[] = {24 << 20}; /* 96 MiB */
    float *values = calloc(shape[0], sizeof *values);
    job->status = sp_checkpoint_make_folder(dir, 2);
    if (job->status == SP_OK) job->status = sp_checkpoint_begin(&writer, dir, 2, 0);
    const double before = sp_clock_seconds();
    if (job->status == SP_OK)
        job->status = sp_checkpoint_write_tensor(writer, "x", 1, shape, values);
    job->seconds = sp_clock_seconds() - before;
    atomic_store(&job->is_done, true);
    sp_checkpoint_abort(writer);
    free(values);
    return NULL;
}

/* A thread that reads gets the library between pieces of a long write, never only after it. */
static void reader_does_not_wait_for_a_long_write(void **state) {
    long_write job = {.seconds = 0};
    pthread_t thread;
    float value = 0;
    double longest = 0;
    const size_t shape[] = {1};
    sp_checkpoint *checkpoint = NULL;
    sp_checkpoint_file file;
    finish_small(1, &file);
    assert_int_equal(sp_checkpoint_publish(dir, 1, &file, 1, NULL), SP_OK);
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_OK);
    assert_int_equal(pthread_create(&thread, NULL, write_for_long, &job), 0);
    while (!atomic_load(&job.is_done)) {
        const double before = sp_clock_seconds();
        assert_int_equal(sp_checkpoint_read_tensor(checkpoint, "step", 1, shape, &value), SP_OK);
        longest = fmax(longest, sp_clock_seconds() - before);
        usleep(100);
    }
    pthread_join(thread, NULL);
    sp_checkpoint_close(checkpoint);
    assert_int_equal(job.status, SP_OK);
    assert_true(longest < job.seconds / 3); /* a 24th, but for what else the machine does */
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, create_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {WITH_FOLDER(rows_of_several_writers_are_one_tensor),
                                       WITH_FOLDER(writers_at_once_write_the_same_bytes),
                                       WITH_FOLDER(many_files_need_few_descriptors),
                                       WITH_FOLDER(readers_share_the_verifying),
                                       WITH_FOLDER(files_that_do_not_fit_together_are_refused),
                                       WITH_FOLDER(unpublished_step_is_no_checkpoint),
                                       WITH_FOLDER(reader_does_not_wait_for_a_long_write)};
    return cmocka_run_group_tests_name("checkpoint_writers", tests, NULL, NULL);
}
