/* Shards, whatever their number and the parameters' shapes: together they hold every row once. */
#include "tests/check.h"

#include "chain/shard.h"

#include <stdlib.h>
#include <string.h>

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* Groups of matrices and vectors of many shapes, some empty. */
static void declare_all(sp_params *params) {
    static const struct {
        size_t n_rows, n_cols; /* n_rows 0: a vector */
        bool begins_group;
    } shapes[] = {{7, 3, true},  {0, 5, false}, {2, 0, false}, {0, 0, true}, {1, 90, true},
                  {40, 2, true}, {0, 1, false}, {3, 11, true}, {0, 64, true}};
    must(sp_params_begin_group(params)); /* a block that trains nothing */
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        sp_param *param = NULL;
        if (shapes[i].begins_group) must(sp_params_begin_group(params));
        must(sp_params_declare(params, &param, shapes[i].n_rows, shapes[i].n_cols, "p%zu", i));
    }
    must(sp_params_begin_group(params));
}

static void shards_hold_every_row_once(void **state) {
    sp_params params = {0};
    declare_all(&params);
    for (size_t n_shards = 1; n_shards <= 9; n_shards++) {
        unsigned char *seen = calloc(params.n_values, 1);
        assert_non_null(seen);
        for (size_t index = 0; index < n_shards; index++) {
            sp_shard shard = {0};
            must(sp_shard_create(&shard, &params, index, n_shards));
            size_t local = 0, end = 0;
            for (size_t i = 0; i < shard.n_pieces; i++) {
                const sp_shard_piece *piece = &shard.pieces[i];
                const size_t width = piece->param->n_dims == 2 ? piece->param->shape[1] : 1;
                assert_int_equal(piece->local, local);
                assert_true(piece->offset >= end);
                assert_int_equal(piece->offset, piece->param->offset + piece->row_begin * width);
                assert_int_equal(piece->n_values, piece->n_rows * width);
                assert_true(piece->row_begin + piece->n_rows <= piece->param->shape[0]);
                for (size_t j = 0; j < piece->n_values; j++)
                    assert_int_equal(seen[piece->offset + j]++, 0);
                local += piece->n_values;
                end = piece->offset + piece->n_values;
            }
            assert_int_equal(shard.n_values, local);
            sp_shard_free(&shard);
        }
        for (size_t j = 0; j < params.n_values; j++) assert_int_equal(seen[j], 1);
        free(seen);
    }
    sp_params_free(&params);
}

static void cuts_of_a_group_rise_from_its_begin_to_its_end(void **state) {
    sp_params params = {0};
    declare_all(&params);
    assert_int_equal(sp_params_group_end(&params, params.n_groups - 1), params.n_values);
    for (size_t g = 0; g < params.n_groups; g++)
        for (size_t n_shards = 1; n_shards <= 9; n_shards++) {
            assert_int_equal(sp_shard_cut(&params, g, 0, n_shards), params.group_begin[g]);
            assert_int_equal(sp_shard_cut(&params, g, n_shards, n_shards),
                             sp_params_group_end(&params, g));
            for (size_t i = 0; i < n_shards; i++)
                assert_true(sp_shard_cut(&params, g, i, n_shards) <=
                            sp_shard_cut(&params, g, i + 1, n_shards));
        }
    sp_params_free(&params);
}

/* Half a row's width is as far as rows let a cut be from where it should be. */
static void shards_are_nearly_equal(void **state) {
    sp_params params = {0};
    sp_param *param = NULL;
    must(sp_params_begin_group(&params));
    must(sp_params_declare(&params, &param, 100, 10, "matrix"));
    for (size_t n_shards = 1; n_shards <= 7; n_shards++)
        for (size_t index = 0; index < n_shards; index++) {
            sp_shard shard = {0};
            must(sp_shard_create(&shard, &params, index, n_shards));
            assert_close((double)shard.n_values, 1000.0 / (double)n_shards, 10.0);
            sp_shard_free(&shard);
        }
    sp_params_free(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_hold_every_row_once),
        cmocka_unit_test(cuts_of_a_group_rise_from_its_begin_to_its_end),
        cmocka_unit_test(shards_are_nearly_equal),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
