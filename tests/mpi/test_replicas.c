#include "tests/check.h"
#include "tests/values.h"

#include "mpi/replicas.h"

#include <stdio.h>

/* ranks: 1 2 3 4 */
static sp_world *world;
static sp_grid *grid;
static sp_params params;
static sp_replicas replicas;

static int rank(void) { return sp_world_rank(world); }
static int n_ranks(void) { return sp_world_size(world); }

static int make_params(void **state) {
    static const size_t shapes[][2] = {{7, 5}, {0, 13}, {1, 1}, {64, 33}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        sp_param *param = NULL;
        if (sp_params_declare(&params, &param, shapes[i][0], shapes[i][1], "layer.%zu", i) != SP_OK)
            return -1;
    }
    if (sp_params_allocate(&params) != SP_OK) return -1;
    fill_values(params.values, params.n_values, 5);
    if (sp_grid_create(&grid, world, 1) != SP_OK) return -1;
    return sp_replicas_create(&replicas, grid, &params) == SP_OK ? 0 : -1;
}

static int free_params(void **state) {
    sp_replicas_free(&replicas);
    sp_grid_destroy(grid);
    sp_params_free(&params);
    return 0;
}

/* Bit `bit` of the parameter's values; twice is as before. */
static void flip(size_t param, size_t bit) {
    ((unsigned char *)params.entries[param]->value)[bit / 8] ^= (unsigned char)(1U << bit % 8);
}

static void assert_found(const char *const *parts, size_t n_parts) {
    assert_int_equal(sp_replicas_verify(&replicas), SP_NUMERIC);
    for (size_t i = 0; i < n_parts; i++)
        if (strstr(sp_message(), parts[i]) == NULL)
            fail_msg("no '%s' in: %s", parts[i], sp_message());
}

#define FOUND(...)                                   \
    assert_found((const char *const[]){__VA_ARGS__}, \
                 sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *))

static void equal_replicas_pass(void **state) {
    assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
    params.values[3] = NAN; /* its bits count, not what it is equal to */
    assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
}

static void alone_there_is_nothing_to_compare(void **state) {
    flip(0, 0);
    assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
}

/* On any rank, in any tensor, in its first bit or its last. */
static void single_flipped_bit_is_found_and_named(void **state) {
    for (int bad = 0; bad < n_ranks(); bad++) {
        for (size_t p = 0; p < params.n_entries; p++) {
            const size_t bits[] = {0, params.entries[p]->n_values * 32 - 1};
            for (size_t b = 0; b < 2; b++) {
                char name[32], who[160];
                snprintf(name, sizeof name, "'layer.%zu': ", p);
                snprintf(who, sizeof who, "rank %d (%s) is not as the other %d", bad,
                         sp_world_host(world, bad), n_ranks() - 1);
                if (rank() == bad) flip(p, bits[b]);
                if (n_ranks() == 2)
                    FOUND(name, "on rank 0 (", "), rank 1 (", "none has a majority");
                else
                    FOUND(name, who);
                if (rank() == bad) flip(p, bits[b]);
                assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
            }
        }
    }
}

static void several_tensors_are_counted(void **state) {
    if (rank() == 1) flip(1, 17), flip(2, 3), flip(3, 99);
    FOUND("'layer.1' and 2 more tensor(s): ", "rank 1 (");
    if (rank() == 1) flip(1, 17), flip(2, 3), flip(3, 99);
}

static void without_a_majority_all_are_named(void **state) {
    char last[32];
    snprintf(last, sizeof last, "rank %d (", n_ranks() - 1);
    flip(0, (size_t)rank()); /* each another value */
    FOUND("'layer.0': the replicas on rank 0 (", last, "none has a majority");
    flip(0, (size_t)rank());
    if (n_ranks() % 2 != 0) return;
    if (rank() >= n_ranks() / 2) flip(2, 1); /* half against half */
    FOUND("'layer.2': the replicas on rank 0 (", last, "none has a majority");
}

static void message_is_the_same_on_all(void **state) {
    if (rank() == n_ranks() - 1) flip(3, 5);
    assert_int_equal(sp_replicas_verify(&replicas), SP_NUMERIC);
    char of_first[SP_MESSAGE_SIZE] = "";
    strncpy(of_first, sp_message(), sizeof of_first - 1);
    sp_world_broadcast(world, of_first, sizeof of_first, 0);
    assert_string_equal(sp_message(), of_first);
}

static void note(void) { sp_replicas_note(&replicas); }

/* Whatever the number of replicas. */
static void what_changes_after_a_note_is_found_where_it_is(void **state) {
    for (int bad = 0; bad < n_ranks(); bad++) {
        for (size_t p = 0; p < params.n_entries; p++) {
            const size_t bit = params.entries[p]->n_values * 32 - 1;
            char what[192];
            snprintf(what, sizeof what, "'layer.%zu': changed in the memory of rank %d (%s) while",
                     p, bad, sp_world_host(world, bad));
            note();
            assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
            note();
            if (rank() == bad) flip(p, bit);
            FOUND(what);
            if (rank() == bad) flip(p, bit);
        }
    }
}

static void several_changed_tensors_are_counted(void **state) {
    note();
    if (rank() == n_ranks() - 1) flip(0, 1), flip(3, 2);
    FOUND("'layer.0' and 1 more tensor(s): changed in the memory of rank");
}

/* The same flip everywhere: the replicas are equal, and every rank has changed. */
static void equal_changes_are_found_too(void **state) {
    note();
    flip(1, 30);
    FOUND("'layer.1': changed in the memory of rank 0 (");
}

static void note_is_forgotten_once_it_was_compared(void **state) {
    note();
    assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
    params.values[7] += 1; /* an update, the same everywhere */
    assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
}

/* No rank has a replica, and all know of the one rank's fault. */
static void fault_in_a_pipeline_is_everyones(void **state) {
    sp_replicas_free(&replicas);
    sp_grid_destroy(grid);
    grid = NULL;
    assert_int_equal(sp_grid_create(&grid, world, (size_t)n_ranks()), SP_OK);
    assert_int_equal(sp_replicas_create(&replicas, grid, &params), SP_OK);
    params.values[0] = (float)rank(); /* stages differ as they may */
    assert_int_equal(sp_replicas_verify(&replicas), SP_OK);
    note();
    if (rank() == n_ranks() - 1) flip(2, 9);
    FOUND("'layer.2': changed in the memory of rank ");
}

#define WITH_PARAMS(test) cmocka_unit_test_setup_teardown(test, make_params, free_params)

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest alone[] = {
        WITH_PARAMS(equal_replicas_pass),
        WITH_PARAMS(alone_there_is_nothing_to_compare),
        WITH_PARAMS(what_changes_after_a_note_is_found_where_it_is),
        WITH_PARAMS(several_changed_tensors_are_counted),
        WITH_PARAMS(equal_changes_are_found_too),
        WITH_PARAMS(note_is_forgotten_once_it_was_compared),
    };
    const struct CMUnitTest several[] = {
        WITH_PARAMS(equal_replicas_pass),
        WITH_PARAMS(single_flipped_bit_is_found_and_named),
        WITH_PARAMS(several_tensors_are_counted),
        WITH_PARAMS(without_a_majority_all_are_named),
        WITH_PARAMS(message_is_the_same_on_all),
        WITH_PARAMS(what_changes_after_a_note_is_found_where_it_is),
        WITH_PARAMS(several_changed_tensors_are_counted),
        WITH_PARAMS(equal_changes_are_found_too),
        WITH_PARAMS(note_is_forgotten_once_it_was_compared),
        WITH_PARAMS(fault_in_a_pipeline_is_everyones),
    };
    const int n_failed = n_ranks() == 1
                             ? cmocka_run_group_tests_name("replicas", alone, NULL, NULL)
                             : cmocka_run_group_tests_name("replicas", several, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
