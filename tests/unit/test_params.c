#include "tests/check.h"

#include "chain/params.h"

#include <stdio.h>

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static void parameters_lie_one_after_the_other(void **state) {
    sp_params params = {0};
    sp_param *matrix = NULL, *vector = NULL, *empty = NULL, *last = NULL;
    must(sp_params_declare(&params, &matrix, 3, 5, "layers.%d.%s", 7, "weight"));
    must(sp_params_declare(&params, &vector, 0, 4, "norm"));
    must(sp_params_declare(&params, &empty, 2, 0, "empty"));
    must(sp_params_declare(&params, &last, 1, 2, "last"));
    must(sp_params_allocate(&params));
    assert_string_equal(matrix->name, "layers.7.weight");
    assert_int_equal(matrix->n_dims, 2);
    assert_int_equal(matrix->shape[0], 3);
    assert_int_equal(matrix->shape[1], 5);
    assert_int_equal(vector->n_dims, 1);
    assert_int_equal(vector->shape[0], 4);
    static const size_t offsets[] = {0, 15, 19, 19}, sizes[] = {15, 4, 0, 2};
    assert_int_equal(params.n_entries, 4);
    assert_int_equal(params.n_values, 21);
    for (size_t i = 0; i < 4; i++) {
        const sp_param *param = params.entries[i];
        assert_int_equal(param->offset, offsets[i]);
        assert_int_equal(param->n_values, sizes[i]);
        assert_ptr_equal(param->value, params.values + offsets[i]);
        assert_ptr_equal(param->grad, params.grads + offsets[i]);
    }
    for (size_t i = 0; i < 21; i++) assert_true(params.values[i] == 0 && params.grads[i] == 0);
    sp_params_free(&params);
}

/* More than any first capacity: what blocks borrow stays where it is. */
static void borrowed_parameters_stay_where_they_are(void **state) {
    enum { MANY = 1000 };
    static sp_param *borrowed[MANY];
    sp_params params = {0};
    for (size_t i = 0; i < MANY; i++)
        must(sp_params_declare(&params, &borrowed[i], 0, i % 3, "p%zu", i));
    must(sp_params_allocate(&params));
    for (size_t i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%zu", i);
        assert_ptr_equal(sp_params_find(&params, name), borrowed[i]);
        assert_ptr_equal(params.entries[i], borrowed[i]);
        assert_ptr_equal(borrowed[i]->value, params.values + borrowed[i]->offset);
    }
    assert_null(sp_params_find(&params, "p"));
    assert_null(sp_params_find(&params, "p1000"));
    sp_params_free(&params);
}

static void frozen_sets_keep_no_gradients(void **state) {
    sp_params params = {.are_frozen = true};
    sp_param *param = NULL;
    must(sp_params_declare(&params, &param, 2, 2, "weight"));
    must(sp_params_allocate(&params));
    assert_non_null(param->value);
    assert_null(params.grads);
    assert_null(param->grad);
    sp_params_free(&params);
}

static void products_beyond_memory_are_refused_by_name(void **state) {
    sp_params params = {0};
    sp_param *param = NULL;
    assert_int_equal(sp_params_declare(&params, &param, SIZE_MAX / 2, 3, "huge"), SP_FAILURE);
    assert_non_null(strstr(sp_message(), "'huge'"));
    assert_null(param);
    assert_int_equal(params.n_entries, 0);
    sp_params_free(&params);
}

static void an_empty_set_is_one_and_is_freed_twice(void **state) {
    sp_params params = {0};
    must(sp_params_allocate(&params));
    assert_null(sp_params_find(&params, "x"));
    sp_params_free(&params);
    sp_params_free(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_lie_one_after_the_other),
        cmocka_unit_test(borrowed_parameters_stay_where_they_are),
        cmocka_unit_test(frozen_sets_keep_no_gradients),
        cmocka_unit_test(products_beyond_memory_are_refused_by_name),
        cmocka_unit_test(an_empty_set_is_one_and_is_freed_twice),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
