#include "tests/check.h"
#include "tests/values.h"

#include "mpi/grid_comm.h"
#include "mpi/reducer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ranks: 1 2 3 4 */
static sp_world *world;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* Groups of a block that trains nothing, of few and of many values: one is beyond a piece of both
   ways to reduce. */
static void declare_all(sp_params *params) {
    static const size_t rows[] = {0, 0, 1, 700, 3}, cols[] = {0, 5, 3, 3001, 11};
    for (size_t g = 0; g < sizeof rows / sizeof rows[0]; g++) {
        sp_param *param = NULL;
        must(sp_params_begin_group(params));
        if (g == 0) continue;
        must(sp_params_declare(params, &param, rows[g], cols[g], "matrix %zu", g));
        must(sp_params_declare(params, &param, 0, 7 * g, "vector %zu", g));
    }
}

/* What micro-batch m of replica r adds to the gradient of value i: sums of these are exact. */
static float addend(size_t r, size_t m, size_t i) {
    return (float)((i * 2654435761u >> 7) % 1000 + 10 * m) - (float)(r * 3);
}

typedef struct fixture {
    sp_grid *grid;
    sp_params params;
    sp_shard shard;
    sp_reducer *reducer;
} fixture;

/* What the tests take the machine for: one node, as it is; nodes of one rank; nodes of two. */
static int ranks_per_node;

static void pretend_nodes(sp_grid *grid) {
    if (ranks_per_node == 0) return;
    if (grid->node != MPI_COMM_NULL) MPI_Comm_free(&grid->node);
    if (grid->across != MPI_COMM_NULL) MPI_Comm_free(&grid->across);
    if (ranks_per_node == 1 || grid->data_size % ranks_per_node != 0) return;
    const int node = grid->data_rank / ranks_per_node;
    MPI_Comm_split(grid->data, node, grid->data_rank, &grid->node);
    MPI_Comm_rank(grid->node, &grid->node_rank);
    MPI_Comm_size(grid->node, &grid->node_size);
    MPI_Comm_split(grid->data, grid->node_rank, grid->data_rank, &grid->across);
    MPI_Comm_rank(grid->across, &grid->across_rank);
    MPI_Comm_size(grid->across, &grid->across_size);
}

static void set_up(fixture *f, size_t pipeline, int zero) {
    *f = (fixture){0};
    must(sp_grid_create(&f->grid, world, pipeline));
    pretend_nodes(f->grid);
    const size_t n = sp_grid_data_size(f->grid);
    f->params.are_frozen = zero == 2 && n > 1;
    declare_all(&f->params);
    must(sp_params_allocate(&f->params));
    must(sp_shard_create(&f->shard, &f->params, sp_grid_shard_index(f->grid), n));
    must(sp_reducer_create(&f->reducer, f->grid, &f->params, &f->shard, zero));
}

static void tear_down(fixture *f) {
    sp_reducer_destroy(f->reducer);
    sp_shard_free(&f->shard);
    sp_params_free(&f->params);
    sp_grid_destroy(f->grid);
}

/* The backward passes of a step of n_micro micro-batches, as blocks make them. */
static void run_backward(fixture *f, size_t n_micro) {
    const size_t r = sp_grid_data_rank(f->grid);
    sp_reducer_begin_step(f->reducer);
    for (size_t m = 0; m < n_micro; m++)
        for (size_t g = f->params.n_groups; g-- > 0;) {
            sp_reducer_before_backward(f->reducer, g);
            for (size_t e = 0; e < f->params.n_entries; e++) {
                const sp_param *param = f->params.entries[e];
                if (param->offset < f->params.group_begin[g] ||
                    param->offset >= sp_params_group_end(&f->params, g))
                    continue;
                for (size_t i = 0; i < param->n_values; i++)
                    param->grad[i] += addend(r, m, param->offset + i);
            }
            sp_reducer_after_backward(f->reducer, g, m + 1 == n_micro);
        }
    sp_reducer_wait_gradients(f->reducer);
}

static void shards_get_the_sums_of_all_gradients(void **state) {
    for (int zero = 1; zero <= 2; zero++)
        for (size_t n_micro = 1; n_micro <= 3; n_micro += 2) {
            fixture f;
            set_up(&f, 1, zero);
            for (int step = 0; step < 2; step++) { /* nothing is left over from the first */
                run_backward(&f, n_micro);
                const float *got = sp_reducer_gradients(f.reducer);
                for (size_t p = 0; p < f.shard.n_pieces; p++) {
                    const sp_shard_piece *piece = &f.shard.pieces[p];
                    for (size_t i = 0; i < piece->n_values; i++) {
                        float sum = 0;
                        for (size_t r = 0; r < sp_grid_data_size(f.grid); r++)
                            for (size_t m = 0; m < n_micro; m++)
                                sum += addend(r, m, piece->offset + i);
                        if (got[piece->local + i] != sum)
                            fail_msg("zero %d, value %zu: %g, not %g", zero, piece->offset + i,
                                     (double)got[piece->local + i], (double)sum);
                    }
                }
            }
            tear_down(&f);
        }
}

/* Every rank writes its shard; then all have all. */
static void values_reach_every_replica(void **state) {
    fixture f;
    set_up(&f, 1, 1);
    for (int step = 0; step < 3; step++) {
        for (size_t p = 0; p < f.shard.n_pieces; p++)
            for (size_t i = 0; i < f.shard.pieces[p].n_values; i++) {
                const size_t at = f.shard.pieces[p].offset + i;
                f.params.values[at] = addend(0, (size_t)step, at);
            }
        sp_reducer_gather(f.reducer);
        for (size_t g = 0; g < f.params.n_groups; g++) {
            sp_reducer_wait_values(f.reducer, g);
            for (size_t i = f.params.group_begin[g]; i < sp_params_group_end(&f.params, g); i++)
                assert_true(f.params.values[i] == addend(0, (size_t)step, i));
        }
        sp_reducer_wait_all_values(f.reducer);
    }
    tear_down(&f);
}

/* Two data groups of two ranks each do not meet. */
static void stages_are_reduced_apart(void **state) {
    if (sp_world_size(world) != 4) return;
    fixture f;
    set_up(&f, 2, 1);
    const size_t stage = sp_grid_pipeline_rank(f.grid);
    sp_reducer_begin_step(f.reducer);
    for (size_t i = 0; i < f.params.n_values; i++)
        f.params.grads[i] = (float)(stage + 1) * (float)(sp_grid_data_rank(f.grid) + 1);
    for (size_t g = f.params.n_groups; g-- > 0;) sp_reducer_after_backward(f.reducer, g, true);
    sp_reducer_wait_gradients(f.reducer);
    for (size_t i = 0; i < f.shard.n_values; i++)
        assert_true(sp_reducer_gradients(f.reducer)[i] == 3 * (float)(stage + 1));
    tear_down(&f);
}

static void ranks_that_make_no_whole_pipelines_are_refused(void **state) {
    sp_grid *grid = NULL;
    assert_int_equal(sp_grid_create(&grid, world, (size_t)sp_world_size(world) + 1), SP_USAGE);
    assert_non_null(strstr(sp_message(), "parallel.pipeline"));
}

/* A replica that comes late keeps the others waiting, and nothing else happens. */
static void a_late_replica_is_waited_for(void **state) {
    fixture f;
    set_up(&f, 1, 2);
    if (sp_grid_data_rank(f.grid) == 0) usleep(200000);
    run_backward(&f, 2);
    sp_reducer_gather(f.reducer);
    sp_reducer_wait_all_values(f.reducer);
    tear_down(&f);
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_get_the_sums_of_all_gradients),
        cmocka_unit_test(values_reach_every_replica),
        cmocka_unit_test(stages_are_reduced_apart),
        cmocka_unit_test(ranks_that_make_no_whole_pipelines_are_refused),
        cmocka_unit_test(a_late_replica_is_waited_for),
    };
    int n_failed = 0;
    for (ranks_per_node = 0; ranks_per_node <= 2; ranks_per_node++)
        n_failed += cmocka_run_group_tests_name("reducer", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
