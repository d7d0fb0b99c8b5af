#include "tests/check.h"
#include "tests/temp_folder.h"
#include "tests/values.h"

#include "base/log.h"
#include "io/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

/* Shapes around the size of a chunk and of what is written at once, and empty ones. */
static const struct {
    const char *name;
    size_t n_dims, shape[SP_CHECKPOINT_MAX_DIMS];
} tensors[] = {{"converter.norm.weight", 1, {5}},
               {"memory_tokens", 2, {64, 7}},
               {"encoder.layers.0.q.lora_a", 2, {3, 1}},
               {"empty", 2, {0, 4}},
               {"long", 1, {300000}},
               {"wide", 2, {2, 300000}},
               {"deep", 4, {2, 3, 1, 5}},
               {"scalar", 1, {1}},
               {"several pieces", 2, {2500, 700}},
               {"several pieces of values", 1, {2200000}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], MOST_VALUES = 2200000 };

static size_t n_values_of(size_t t) {
    size_t n_values = 1;
    for (size_t i = 0; i < tensors[t].n_dims; i++) n_values *= tensors[t].shape[i];
    return n_values;
}

/* Values that tell tensor and step apart. */
static void fill(float *values, size_t t, uint64_t step) {
    fill_values(values, n_values_of(t), (uint32_t)(t * 1000 + step));
}

static sp_status begin(sp_checkpoint_writer **writer, uint64_t step) {
    SP_TRY(sp_checkpoint_make_folder(dir, step));
    return sp_checkpoint_begin(writer, dir, step, 0);
}

static sp_status commit(sp_checkpoint_writer *writer, uint64_t step, const json_t *extra) {
    sp_checkpoint_file file;
    SP_TRY(sp_checkpoint_finish(writer, &file));
    return sp_checkpoint_publish(dir, step, &file, 1, extra);
}

static sp_status write_all(sp_checkpoint_writer *writer, uint64_t step) {
    float *values = malloc(MOST_VALUES * sizeof *values);
    sp_status status = SP_OK;
    for (size_t t = 0; t < N_TENSORS && status == SP_OK; t++) {
        fill(values, t, step);
        status = sp_checkpoint_write_tensor(writer, tensors[t].name, tensors[t].n_dims,
                                            tensors[t].shape, values);
    }
    free(values);
    return status;
}

/* As a run does: what was begun and failed is discarded. */
static sp_status save(uint64_t step, const json_t *extra) {
    sp_checkpoint_writer *writer = NULL;
    sp_status status = begin(&writer, step);
    if (status == SP_OK) status = write_all(writer, step);
    if (status == SP_OK)
        status = commit(writer, step, extra);
    else
        sp_checkpoint_abort(writer);
    if (status != SP_OK) sp_checkpoint_discard(dir, step);
    return status;
}

/* A small one, for tests of folders rather than of contents. */
static void save_small(uint64_t step) {
    const float value = (float)step;
    const size_t shape[] = {1};
    sp_checkpoint_writer *writer = NULL;
    assert_int_equal(begin(&writer, step), SP_OK);
    assert_int_equal(sp_checkpoint_write_tensor(writer, "step", 1, shape, &value), SP_OK);
    assert_int_equal(commit(writer, step, NULL), SP_OK);
}

static void assert_newest(uint64_t step) {
    sp_checkpoint *checkpoint = NULL;
    const size_t shape[] = {1};
    float value = -1;
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_OK);
    assert_true(sp_checkpoint_step(checkpoint) == step);
    assert_int_equal(sp_checkpoint_read_tensor(checkpoint, "step", 1, shape, &value), SP_OK);
    assert_true(value == (float)step);
    sp_checkpoint_close(checkpoint);
}

static const char *in_step(uint64_t step, const char *name) {
    static char path[TEMP_PATH_SIZE];
    char inside[64];
    snprintf(inside, sizeof inside, "step-%07ju%s%s", (uintmax_t)step, *name != '\0' ? "/" : "",
             name);
    return temp_path(path, dir, inside);
}

static bool exists(uint64_t step) { return access(in_step(step, ""), F_OK) == 0; }

static void saved_tensors_are_loaded_again(void **state) {
    float *expected = malloc(MOST_VALUES * sizeof *expected);
    float *values = malloc(MOST_VALUES * sizeof *values);
    json_t *extra =
        json_pack("{s:{s:i}, s:s, s:i}", "cursor", "sample", 77, "digest", "abc", "step", 5);
    sp_checkpoint *checkpoint = NULL;
    assert_int_equal(save(1200, extra), SP_OK);
    assert_int_equal(temp_count(dir), 1);
    assert_true(exists(1200));
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_OK);
    assert_string_equal(sp_checkpoint_path(checkpoint), in_step(1200, ""));
    assert_int_equal(sp_checkpoint_n_tensors(checkpoint), N_TENSORS);
    const json_t *manifest = sp_checkpoint_manifest(checkpoint);
    assert_string_equal(json_string_value(json_object_get(manifest, "digest")), "abc");
    assert_int_equal(json_integer_value(json_object_get(manifest, "step")), 1200); /* ours wins */
    for (size_t t = 0; t < N_TENSORS; t++) {
        const size_t n_values = n_values_of(t);
        fill(expected, t, 1200);
        sp_checkpoint_tensor tensor;
        assert_true(sp_checkpoint_find_tensor(checkpoint, tensors[t].name, &tensor));
        assert_int_equal(tensor.n_dims, tensors[t].n_dims);
        assert_memory_equal(tensor.shape, tensors[t].shape, tensor.n_dims * sizeof(size_t));
        assert_int_equal(sp_checkpoint_read_tensor(checkpoint, tensors[t].name, tensor.n_dims,
                                                   tensor.shape, values),
                         SP_OK);
        assert_memory_equal(values, expected, n_values * sizeof *values);
        const size_t n_rows = tensor.shape[0], row = n_rows > 0 ? n_values / n_rows : 0;
        if (n_rows < 2) continue;
        assert_int_equal(sp_checkpoint_read_rows(checkpoint, tensors[t].name, tensor.n_dims,
                                                 tensor.shape, 1, n_rows - 1, values),
                         SP_OK);
        assert_memory_equal(values, expected + row, (n_values - row) * sizeof *values);
    }
    sp_checkpoint_close(checkpoint);
    json_decref(extra);
    free(values);
    free(expected);
}

static void other_name_or_shape_is_refused(void **state) {
    const size_t other[] = {7, 64};
    float value = 0;
    sp_checkpoint *checkpoint = NULL;
    sp_checkpoint_tensor tensor;
    assert_int_equal(save(1, NULL), SP_OK);
    assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(1, "")), SP_OK);
    assert_int_equal(sp_checkpoint_read_tensor(checkpoint, "memory_tokens", 2, other, &value),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "its shape is [64, 7], wanted is [7, 64]"));
    assert_int_equal(sp_checkpoint_read_tensor(checkpoint, "memory", 2, other, &value),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "no tensor 'memory'"));
    assert_false(sp_checkpoint_find_tensor(checkpoint, "memory", &tensor));
    sp_checkpoint_close(checkpoint);
}

static void names_that_are_paths_are_not_written(void **state) {
    static const char *const bad[] = {"", ".", "..", "a/b", ".hidden"};
    const float value = 1;
    const size_t shape[] = {1};
    sp_checkpoint_writer *writer = NULL;
    assert_int_equal(begin(&writer, 1), SP_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sp_checkpoint_write_tensor(writer, bad[i], 1, shape, &value), SP_FAILURE);
    assert_int_equal(sp_checkpoint_write_tensor(writer, "a", 1, shape, &value), SP_OK);
    assert_int_not_equal(sp_checkpoint_write_tensor(writer, "a", 1, shape, &value), SP_OK);
    sp_checkpoint_abort(writer);
    sp_checkpoint_discard(dir, 1);
    assert_int_equal(temp_count(dir), 0);
}

static void missing_rows_are_noticed_when_opening(void **state) {
    const float values[6] = {0};
    const size_t shape[] = {4, 2};
    static const size_t pieces[][2] = {{0, 3}, {1, 3}, {0, 0}};
    for (size_t i = 0; i < 3; i++) {
        sp_checkpoint_writer *writer = NULL;
        sp_checkpoint *checkpoint = NULL;
        assert_int_equal(begin(&writer, 1), SP_OK);
        assert_int_equal(
            sp_checkpoint_write_rows(writer, "x", 2, shape, pieces[i][0], pieces[i][1], values),
            SP_OK);
        assert_int_equal(commit(writer, 1, NULL), SP_OK);
        assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(1, "")), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), "rows"));
    }
}

static void newest_valid_checkpoint_is_taken(void **state) {
    save_small(5);
    save_small(70);
    save_small(1000000000);
    assert_newest(1000000000);

    /* A file that was changed, but for its size; then one that was cut; then no manifest. */
    size_t n_bytes = 0;
    char *data = temp_read(in_step(1000000000, "data-0000.h5"), &n_bytes);
    data[n_bytes / 2] ^= 1;
    temp_write(in_step(1000000000, "data-0000.h5"), data, n_bytes);
    assert_newest(70);
    temp_write(in_step(1000000000, "data-0000.h5"), data, n_bytes - 1);
    assert_newest(70);
    free(data);
    unlink(in_step(70, "manifest.json"));
    assert_newest(5);

    char *found = NULL;
    assert_int_equal(sp_checkpoint_find(dir, &found), SP_OK);
    assert_string_equal(found, in_step(5, ""));
    free(found);

    /* By its own name a damaged one is refused, not passed over. */
    sp_checkpoint *checkpoint = NULL;
    assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(1000000000, "")), SP_BAD_DATA);
    assert_int_equal(sp_checkpoint_find(in_step(1000000000, ""), &found), SP_BAD_DATA);
    unlink(in_step(5, "manifest.json"));
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_BAD_DATA);
}

static void damaged_manifest_is_refused_anywhere(void **state) {
    sp_checkpoint *checkpoint = NULL;
    size_t n_bytes = 0;
    save_small(3);
    char *data = temp_read(in_step(3, "manifest.json"), &n_bytes);
    for (size_t cut = 0; cut < n_bytes - 1; cut++) { /* the last byte is the closing brace */
        temp_write(in_step(3, "manifest.json"), data, cut);
        assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(3, "")), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), "manifest.json"));
    }
    static const char *const wrong[] = {
        "{}",
        "[]",
        "{\"format\": \"slotpress-checkpoint\", \"format_version\": 2, \"step\": 3, \"files\": []}",
        "{\"format\": \"other\", \"format_version\": 1, \"step\": 3, \"files\": []}",
        "{\"format\": \"slotpress-checkpoint\", \"format_version\": 1, \"step\": -3, \"files\": "
        "[]}",
        "{\"format\": \"slotpress-checkpoint\", \"format_version\": 1, \"step\": 3}",
        "{\"format\": \"slotpress-checkpoint\", \"format_version\": 1, \"step\": 3, \"files\": "
        "[{}]}",
        "{\"format\": \"slotpress-checkpoint\", \"format_version\": 1, \"step\": 3, \"files\": "
        "[{\"name\": \"../x\", \"bytes\": 1, \"xxh3_128\": \"0\"}]}",
        "{\"format\": \"slotpress-checkpoint\", \"format_version\": 1, \"step\": 3, \"files\": "
        "[{\"name\": \"x\", \"bytes\": 1, \"xxh3_128\": \"0\"}]}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        temp_write(in_step(3, "manifest.json"), wrong[i], strlen(wrong[i]));
        assert_int_equal(sp_checkpoint_open(&checkpoint, in_step(3, "")), SP_BAD_DATA);
    }
    free(data);
}

static void folder_without_checkpoints_has_none(void **state) {
    char *found = (char *)1;
    char missing[TEMP_PATH_SIZE];
    sp_checkpoint *checkpoint = NULL;
    assert_int_equal(sp_checkpoint_find(dir, &found), SP_OK);
    assert_null(found);
    assert_int_equal(sp_checkpoint_find(temp_path(missing, dir, "none"), &found), SP_OK);
    assert_null(found);
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_IO);
    assert_int_equal(sp_checkpoint_open(&checkpoint, missing), SP_IO);
}

static void same_step_is_replaced(void **state) {
    sp_checkpoint *checkpoint = NULL;
    assert_int_equal(save(7, NULL), SP_OK);
    save_small(7);
    assert_newest(7);
    assert_int_equal(temp_count(dir), 1);
    assert_int_equal(sp_checkpoint_open(&checkpoint, dir), SP_OK);
    assert_int_equal(sp_checkpoint_n_tensors(checkpoint), 1);
    sp_checkpoint_close(checkpoint);
}

static void same_state_is_the_same_bytes(void **state) {
    size_t n_first = 0, n_second = 0;
    assert_int_equal(save(7, NULL), SP_OK);
    char *first = temp_read(in_step(7, "data-0000.h5"), &n_first);
    sleep(1); /* no time of writing may get in */
    assert_int_equal(save(7, NULL), SP_OK);
    char *second = temp_read(in_step(7, "data-0000.h5"), &n_second);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    free(second);
    free(first);
}

static void prune_keeps_the_newest_and_the_major_ones(void **state) {
    static const uint64_t steps[] = {0, 10, 20, 30, 40, 50, 60};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) save_small(steps[i]);
    unlink(in_step(60, "manifest.json")); /* not complete: does not count, and is left alone */
    char leftover[TEMP_PATH_SIZE], inside[TEMP_PATH_SIZE], other[TEMP_PATH_SIZE];
    mkdir(temp_path(leftover, dir, "step-0000070.tmp"), 0777);
    temp_write(temp_path(inside, leftover, "data-0000.h5"), "x", 1);
    mkdir(temp_path(other, dir, "step-final"), 0777); /* not ours */

    assert_int_equal(sp_checkpoint_prune(dir, 2, 20), SP_OK);
    static const bool kept[] = {false, false, true, false, true, true, true};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (exists(steps[i]) != kept[i]) fail_msg("step %d", (int)steps[i]);
    assert_int_equal(access(leftover, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0);

    assert_int_equal(sp_checkpoint_prune(dir, 0, 0), SP_OK); /* the newest stays in any case */
    assert_true(exists(50) && !exists(40) && !exists(20));
}

static void aborted_checkpoint_leaves_nothing(void **state) {
    char folder[TEMP_PATH_SIZE];
    sp_checkpoint_writer *writer = NULL;
    const float value = 1;
    const size_t shape[] = {1};
    assert_int_equal(begin(&writer, 9), SP_OK);
    assert_int_equal(sp_checkpoint_write_tensor(writer, "a", 1, shape, &value), SP_OK);
    sp_checkpoint_abort(writer);
    sp_checkpoint_abort(NULL);
    assert_int_equal(temp_count(temp_path(folder, dir, "step-0000009.tmp")), 0);
    sp_checkpoint_discard(dir, 9);
    sp_checkpoint_discard(dir, 9);
    assert_int_equal(temp_count(dir), 0);
}

static void full_disk_leaves_the_checkpoint_before(void **state) {
    size_t n_bytes = 0;
    save_small(1);
    assert_int_equal(save(2, NULL), SP_OK);
    free(temp_read(in_step(2, "data-0000.h5"), &n_bytes));
    char path[TEMP_PATH_SIZE];
    temp_folder_remove(strcpy(path, in_step(2, "")));
    for (size_t limit = 0; limit < n_bytes; limit += n_bytes / 7) {
        temp_limit_files(limit);
        const sp_status status = save(2, NULL);
        temp_limit_files(UINT64_MAX);
        assert_int_equal(status, SP_IO);
        assert_int_equal(temp_count(dir), 1);
        assert_newest(1);
    }
}

static void run_folder_that_cannot_be_made_is_refused(void **state) {
    char path[TEMP_PATH_SIZE];
    sp_checkpoint_writer *writer = NULL;
    temp_write(temp_path(path, dir, "file"), "x", 1);
    assert_int_equal(sp_checkpoint_make_folder(temp_path(path, dir, "file/run"), 1), SP_IO);
    assert_int_equal(sp_checkpoint_begin(&writer, dir, 1, 0), SP_IO); /* nobody made the folder */
    assert_non_null(strstr(sp_message(), "step-0000001.tmp/data-0000.h5"));
}

static void description_lists_tensors(void **state) {
    json_t *description = NULL;
    assert_int_equal(save(4, NULL), SP_OK);
    assert_int_equal(sp_checkpoint_describe(&description, dir), SP_OK);
    assert_int_equal(json_array_size(json_object_get(description, "tensors")), N_TENSORS);
    assert_int_equal(json_integer_value(json_object_get(description, "step")), 4);
    json_decref(description);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, create_folder, remove_folder)

int main(void) {
    sp_log_set_level(SP_LOG_QUIET);
    const struct CMUnitTest tests[] = {WITH_FOLDER(saved_tensors_are_loaded_again),
                                       WITH_FOLDER(other_name_or_shape_is_refused),
                                       WITH_FOLDER(names_that_are_paths_are_not_written),
                                       WITH_FOLDER(missing_rows_are_noticed_when_opening),
                                       WITH_FOLDER(newest_valid_checkpoint_is_taken),
                                       WITH_FOLDER(damaged_manifest_is_refused_anywhere),
                                       WITH_FOLDER(folder_without_checkpoints_has_none),
                                       WITH_FOLDER(same_step_is_replaced),
                                       WITH_FOLDER(same_state_is_the_same_bytes),
                                       WITH_FOLDER(prune_keeps_the_newest_and_the_major_ones),
                                       WITH_FOLDER(aborted_checkpoint_leaves_nothing),
                                       WITH_FOLDER(full_disk_leaves_the_checkpoint_before),
                                       WITH_FOLDER(run_folder_that_cannot_be_made_is_refused),

                                       WITH_FOLDER(description_lists_tensors)};
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
