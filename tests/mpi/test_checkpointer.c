#include "tests/check.h"
#include "tests/temp_folder.h"
#include "tests/values.h"

#include "mpi/agree.h"
#include "run/checkpointer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sp_world *world;
static int rank, n_ranks;
static char dir[TEMP_PATH_SIZE]; /* of all ranks */
static sp_run_config config;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* Three groups: of several parameters, of none, of one row that cannot be cut. */
static void make_params(sp_params *params) {
    sp_param *param = NULL;
    must(sp_params_begin_group(params));
    must(sp_params_declare(params, &param, 7, 5, "layers.0.weight"));
    must(sp_params_declare(params, &param, 0, 11, "layers.0.norm"));
    must(sp_params_declare(params, &param, 500, 800, "layers.0.large"));
    must(sp_params_begin_group(params));
    must(sp_params_begin_group(params));
    must(sp_params_declare(params, &param, 1, 6, "memory"));
    must(sp_params_allocate(params));
}

/* Parameters, this rank's shard of them and its moments, as after `seed` updates. */
typedef struct training {
    sp_params params;
    sp_shard shard;
    float *m, *v;
} training;

static void fill(training *t, uint32_t seed) {
    float *all = malloc(t->params.n_values * sizeof *all);
    float *shards[] = {t->m, t->v};
    fill_values(t->params.values, t->params.n_values, seed);
    for (uint32_t i = 0; i < 2; i++) {
        fill_values(all, t->params.n_values, seed + 100 * (i + 1));
        for (size_t p = 0; p < t->shard.n_pieces; p++)
            memcpy(shards[i] + t->shard.pieces[p].local, all + t->shard.pieces[p].offset,
                   t->shard.pieces[p].n_values * sizeof *all);
    }
    free(all);
}

static void begin_training(training *t, size_t index, size_t n_shards) {
    *t = (training){.m = NULL};
    make_params(&t->params);
    must(sp_shard_create(&t->shard, &t->params, index, n_shards));
    t->m = calloc(t->shard.n_values + 1, sizeof *t->m);
    t->v = calloc(t->shard.n_values + 1, sizeof *t->v);
}

static void end_training(training *t) {
    free(t->v);
    free(t->m);
    sp_shard_free(&t->shard);
    sp_params_free(&t->params);
}

static int set_up(void **state) {
    if (rank == 0) temp_folder_create(dir);
    sp_world_broadcast(world, dir, sizeof dir, 0);
    config = (sp_run_config){.run.dir = dir, .train.global_batch = 7, .checkpoint.keep = 2};
    return 0;
}

static int tear_down(void **state) {
    sp_world_barrier(world);
    if (rank == 0) temp_folder_remove(dir);
    return 0;
}

static sp_train_state about_step(uint64_t step) {
    return (sp_train_state){.config = &config, .step = step, .tokens_digest = "of tokens"};
}

/* Names in the run's folder, once all ranks are done with it. */
static size_t n_left(void) {
    sp_world_barrier(world);
    const size_t n = temp_count(dir);
    sp_world_barrier(world);
    return n;
}

static const char *step_folder(uint64_t step) {
    static char path[TEMP_PATH_SIZE];
    char name[32];
    snprintf(name, sizeof name, "step-%07ju", (uintmax_t)step);
    return temp_path(path, dir, name);
}

/* The checkpoint holds all of what fill(seed) makes, also for a shard of any other cut. */
static void assert_holds(uint64_t step, uint32_t seed) {
    sp_checkpoint *checkpoint = NULL;
    training t;
    must(sp_checkpoint_open(&checkpoint, step_folder(step)));
    for (size_t n_shards = 1; n_shards <= 5; n_shards += 2)
        for (size_t index = 0; index < n_shards; index++) {
            begin_training(&t, index, n_shards);
            fill(&t, seed);
            float *expected = malloc(t.params.n_values * sizeof *expected);
            float *m = calloc(t.shard.n_values + 1, sizeof *m);
            float *v = calloc(t.shard.n_values + 1, sizeof *v);
            for (size_t i = 0; i < t.params.n_entries; i++) {
                const sp_param *p = t.params.entries[i];
                must(sp_checkpoint_read_tensor(checkpoint, p->name, p->n_dims, p->shape, expected));
                assert_memory_equal(p->value, expected, p->n_values * sizeof *expected);
            }
            must(sp_train_state_load_moments(m, v, &t.shard, checkpoint));
            assert_memory_equal(m, t.m, t.shard.n_values * sizeof *m);
            assert_memory_equal(v, t.v, t.shard.n_values * sizeof *v);
            free(v);
            free(m);
            free(expected);
            end_training(&t);
        }
    sp_checkpoint_close(checkpoint);
}

static const char *digest_in(uint64_t step, char digest[SP_PARAMS_DIGEST_SIZE]) {
    sp_checkpoint *checkpoint = NULL;
    must(sp_checkpoint_open(&checkpoint, step_folder(step)));
    const json_t *manifest = sp_checkpoint_manifest(checkpoint);
    strcpy(digest, json_string_value(json_object_get(manifest, "digest")));
    sp_checkpoint_close(checkpoint);
    return digest;
}

/* What the next updates do to the weights while the file is written does not get in. */
static void checkpoint_holds_the_step_that_it_was_begun_at(void **state) {
    training t;
    sp_checkpointer *checkpointer = NULL;
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    for (uint32_t step = 1; step <= 3; step++) {
        const sp_train_state about = about_step(step);
        fill(&t, step);
        must(sp_checkpointer_begin(checkpointer, &about, t.m, t.v));
        assert_true(sp_checkpointer_is_busy(checkpointer));
        fill(&t, step + 50);
        while (step == 2 && !sp_checkpointer_is_written(checkpointer)) usleep(1000);
        must(sp_checkpointer_publish(checkpointer));
        assert_false(sp_checkpointer_is_busy(checkpointer));
        assert_holds(step, step);
        assert_int_equal(n_left(), step < 2 ? step : 2); /* checkpoint.keep */
    }
    sp_checkpointer_destroy(checkpointer);
    end_training(&t);
}

static void digest_is_that_of_one_process(void **state) {
    training t, whole;
    sp_checkpointer *checkpointer = NULL;
    char digests[3][SP_PARAMS_DIGEST_SIZE];
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    const sp_train_state about[] = {about_step(1), about_step(2), about_step(3)};
    fill(&t, 9);
    must(sp_checkpointer_begin(checkpointer, &about[0], t.m, t.v));
    must(sp_checkpointer_publish(checkpointer));
    config.checkpoint.keep = 3;
    if (rank == 0) {
        begin_training(&whole, 0, 1);
        fill(&whole, 9);
        must(sp_train_state_save(&about[1], &whole.params, whole.m, whole.v));
        whole.params.values[17] += 1;
        must(sp_train_state_save(&about[2], &whole.params, whole.m, whole.v));
        end_training(&whole);
    }
    sp_world_barrier(world);
    assert_string_equal(digest_in(1, digests[0]), digest_in(2, digests[1]));
    assert_string_not_equal(digests[0], digest_in(3, digests[2]));
    assert_holds(2, 9);
    sp_checkpointer_destroy(checkpointer);
    end_training(&t);
}

static void manifest_holds_what_the_run_goes_on_from(void **state) {
    training t;
    sp_checkpointer *checkpointer = NULL;
    sp_checkpoint *checkpoint = NULL;
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    sp_train_state about = about_step(12);
    about.grid = json_pack("{s:i, s:i, s:[[i,i]]}", "pipeline", 1, "data", n_ranks, "cut", 0, 3);
    about.state = json_pack("{s:f}", "norm", 0.1 + 1e-17 * 3);
    must(sp_checkpointer_begin(checkpointer, &about, t.m, t.v));
    json_decref(about.grid); /* the checkpointer has its own references */
    json_decref(about.state);
    must(sp_checkpointer_publish(checkpointer));
    must(sp_checkpoint_open(&checkpoint, step_folder(12)));
    const json_t *manifest = sp_checkpoint_manifest(checkpoint);
    const json_t *saved = json_object_get(manifest, "state");
    assert_true(json_real_value(json_object_get(saved, "norm")) == 0.1 + 1e-17 * 3);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(manifest, "grid"), "data")),
                     n_ranks);
    assert_int_equal(json_integer_value(json_object_get(manifest, "sample_cursor")), 12 * 7);
    assert_string_equal(json_string_value(json_object_get(manifest, "tokens_digest")), "of tokens");
    assert_int_equal(json_array_size(json_object_get(manifest, "files")), n_ranks);
    sp_checkpoint_close(checkpoint);
    sp_checkpointer_destroy(checkpointer);
    end_training(&t);
}

/* The last rank's disk is full: all are told so, and the step before stays the newest. */
static void writer_that_fails_leaves_the_checkpoint_before(void **state) {
    training t;
    sp_checkpointer *checkpointer = NULL;
    char name[32];
    snprintf(name, sizeof name, "data-%04d.h5", n_ranks - 1);
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    for (uint32_t step = 1; step <= 3; step++) {
        const sp_train_state about = about_step(step);
        fill(&t, step);
        if (step == 2 && rank == n_ranks - 1) temp_limit_files(4000);
        must(sp_checkpointer_begin(checkpointer, &about, t.m, t.v));
        const sp_status status = sp_checkpointer_publish(checkpointer);
        temp_limit_files(UINT64_MAX);
        assert_int_equal(status, step == 2 ? SP_IO : SP_OK);
        assert_false(sp_checkpointer_is_busy(checkpointer));
        if (step != 2) continue;
        assert_non_null(strstr(sp_message(), name));
        assert_non_null(strstr(sp_message(), "goes on from the newest"));
        assert_int_equal(n_left(), 1);
        assert_holds(1, 1);
    }
    assert_holds(3, 3); /* once there is room */
    sp_checkpointer_destroy(checkpointer);
    end_training(&t);
}

static void folder_that_cannot_be_made_is_refused_on_every_rank(void **state) {
    training t;
    sp_checkpointer *checkpointer = NULL;
    char path[TEMP_PATH_SIZE];
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    if (rank == 0) temp_write(temp_path(path, dir, "file"), "x", 1);
    temp_path(path, dir, "file/run");
    config.run.dir = path;
    const sp_train_state about = about_step(1);
    assert_int_equal(sp_checkpointer_begin(checkpointer, &about, t.m, t.v), SP_IO);
    assert_false(sp_checkpointer_is_busy(checkpointer));
    sp_checkpointer_destroy(checkpointer);
    end_training(&t);
}

static void step_given_up_leaves_nothing(void **state) {
    training t;
    sp_checkpointer *checkpointer = NULL;
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    const sp_train_state about = about_step(5);
    must(sp_checkpointer_begin(checkpointer, &about, t.m, t.v));
    while (!sp_checkpointer_is_written(checkpointer)) usleep(1000);
    sp_world_barrier(world);
    sp_checkpointer_destroy(checkpointer);
    sp_checkpointer_destroy(NULL);
    assert_int_equal(n_left(), 0);
    end_training(&t);
}

static void time_lost_is_counted_once(void **state) {
    training t;
    sp_checkpointer *checkpointer = NULL;
    begin_training(&t, (size_t)rank, (size_t)n_ranks);
    must(sp_checkpointer_create(&checkpointer, world, &t.params, &t.shard));
    assert_true(sp_checkpointer_take_seconds(checkpointer) == 0);
    const sp_train_state about = about_step(5);
    must(sp_checkpointer_begin(checkpointer, &about, t.m, t.v));
    const double to_begin = sp_checkpointer_take_seconds(checkpointer);
    while (!sp_checkpointer_is_written(checkpointer)) usleep(1000);
    assert_true(sp_checkpointer_take_seconds(checkpointer) == 0); /* this goes on beside */
    must(sp_checkpointer_publish(checkpointer));
    const double to_publish = sp_checkpointer_take_seconds(checkpointer);
    assert_true(to_begin > 0 && to_publish > 0);
    assert_true(sp_checkpointer_take_seconds(checkpointer) == 0);
    sp_checkpointer_destroy(checkpointer);
    end_training(&t);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    rank = sp_world_rank(world);
    n_ranks = sp_world_size(world);
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(checkpoint_holds_the_step_that_it_was_begun_at),
        WITH_FOLDER(digest_is_that_of_one_process),
        WITH_FOLDER(manifest_holds_what_the_run_goes_on_from),
        WITH_FOLDER(writer_that_fails_leaves_the_checkpoint_before),
        WITH_FOLDER(folder_that_cannot_be_made_is_refused_on_every_rank),
        WITH_FOLDER(step_given_up_leaves_nothing),
        WITH_FOLDER(time_lost_is_counted_once)};
    const int n_failed = cmocka_run_group_tests_name("checkpointer", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
