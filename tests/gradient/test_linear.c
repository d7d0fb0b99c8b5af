#include "tests/check.h"

#include "tensor/cpu.h"
#include "tensor/linear_kernel.h"
#include "tests/values.h"

#include <stdbool.h>
#include <stdlib.h>

enum { MAX_ROWS = 40, MAX_OUT = 1100, MAX_IN = 128, MAX_WEIGHT = MAX_OUT * MAX_IN };

/* {n_rows, n_out, n_in}: no rows, single values, tails, more than one panel of 256 and of 1024 outputs;
   with few rows, and with more than any version calls few. */
static const size_t shapes[][3] = {{0, 3, 2},     {1, 1, 1},  {5, 7, 3},      {3, 33, 17},
                                   {17, 300, 70}, {40, 7, 3}, {40, 1100, 70}, {33, 290, 128}};

typedef struct fixture {
    float weight[MAX_WEIGHT], bias[MAX_OUT];
    float x[MAX_ROWS * MAX_IN], dy[MAX_ROWS * MAX_OUT];
    uint16_t weight_bf16[MAX_WEIGHT];
} fixture;
static fixture f;

static void fill_fixture(void) {
    fill_values(f.weight, MAX_WEIGHT, 1);
    fill_values(f.bias, MAX_OUT, 2);
    fill_values(f.x, MAX_ROWS * MAX_IN, 3);
    fill_values(f.dy, MAX_ROWS * MAX_OUT, 4);
    sp_f32_to_bf16(f.weight_bf16, f.weight, MAX_WEIGHT);
}

static double output(const size_t *n, bool has_bias, size_t r, size_t i) {
    double sum = has_bias ? (double)f.bias[i] : 0;
    for (size_t j = 0; j < n[2]; j++)
        sum += (double)f.x[r * n[2] + j] * (double)f.weight[i * n[2] + j];
    return sum;
}

/* L = sum dy y is linear in every input, so that a difference of any width is its slope: each of
   the gradients below is L's coefficient. */
static double slope_of_x(const size_t *n, size_t r, size_t j) {
    double sum = 0;
    for (size_t i = 0; i < n[1]; i++)
        sum += (double)f.dy[r * n[1] + i] * (double)f.weight[i * n[2] + j];
    return sum;
}

static double slope_of_weight(const size_t *n, size_t i, size_t j) {
    double sum = 0;
    for (size_t r = 0; r < n[0]; r++) sum += (double)f.dy[r * n[1] + i] * (double)f.x[r * n[2] + j];
    return sum;
}

/* Both passes against f64. Scratch is exactly what was asked for, so that sanitizers see more. */
static void check_passes(const sp_linear *linear, const size_t *n, bool has_bias,
                         double tolerance) {
    static float y[MAX_ROWS * MAX_OUT], dx[MAX_ROWS * MAX_IN], added[MAX_ROWS * MAX_IN];
    const size_t n_bytes = (sp_linear_scratch_bytes(linear, n[0]) + 63) & ~(size_t)63;
    void *scratch = n_bytes > 0 ? aligned_alloc(64, n_bytes) : NULL;
    for (size_t k = 0; k < n[0] * n[1]; k++) y[k] = NAN;
    for (size_t k = 0; k < n[0] * n[2]; k++) dx[k] = NAN, added[k] = f.x[k];
    sp_linear_forward(linear, y, f.x, n[0], scratch);
    sp_linear_backward_input(linear, dx, 0, f.dy, n[0], scratch);
    sp_linear_backward_input(linear, added, 1, f.dy, n[0], scratch);
    free(scratch);
    for (size_t k = 0; k < n[0] * n[1]; k++)
        assert_close(y[k], output(n, has_bias, k / n[1], k % n[1]), tolerance);
    for (size_t k = 0; k < n[0] * n[2]; k++) {
        const double slope = slope_of_x(n, k / n[2], k % n[2]);
        assert_close(dx[k], slope, tolerance);
        assert_close(added[k], (double)f.x[k] + slope, tolerance);
    }
}

static sp_tensor as_tensor(sp_dtype dtype, const size_t *n, const void *data) {
    return (sp_tensor){.dtype = dtype, .n_dims = 2, .shape = {n[1], n[2]}, .data = data};
}

enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };
static const double rounding = 5e-5; /* f32 sums of up to 1100 terms below 1 */

static void f32_layers_match_f64(void **state) {
    fill_fixture();
    for (size_t s = 0; s < N_SHAPES; s++) {
        const size_t *n = shapes[s];
        sp_linear *linear = NULL;
        assert_int_equal(sp_linear_wrap(&linear, f.weight, f.bias, n[1], n[2]), SP_OK);
        assert_int_equal(sp_linear_n_out(linear), n[1]);
        assert_int_equal(sp_linear_n_in(linear), n[2]);
        check_passes(linear, n, true, rounding);
        sp_linear_destroy(linear);

        const sp_tensor weight = as_tensor(SP_F32, n, f.weight);
        const sp_tensor bias = {.dtype = SP_F32, .n_dims = 1, .shape = {n[1]}, .data = f.bias};
        assert_int_equal(sp_linear_create(&linear, &weight, &bias, SP_PRECISION_F32), SP_OK);
        assert_int_equal(sp_linear_owned_bytes(linear), n[1] * sizeof(float)); /* the bias */
        check_passes(linear, n, true, rounding);
        sp_linear_destroy(linear);
    }
}

/* The product's error is that of weights and x rounded to 8 bits; relative to sums of n terms. */
static void bf16_layers_match_f64_within_their_precision(void **state) {
    fill_fixture();
    for (size_t k = 0; k < sp_linear_n_kernels_bf16; k++) {
        const sp_linear_kernel *kernel = &sp_linear_kernels_bf16[k];
        if (!kernel->supported()) {
            print_message("skipped: needs AVX512-BF16 (%s)\n", kernel->name);
            continue;
        }
        for (size_t s = 0; s < N_SHAPES; s++) {
            const size_t *n = shapes[s];
            const sp_tensor weight = as_tensor(SP_BF16, n, f.weight_bf16);
            sp_linear *linear = NULL;
            assert_int_equal(sp_linear_create(&linear, &weight, NULL, SP_PRECISION_BF16), SP_OK);
            linear->kernel = kernel;
            check_passes(linear, n, false, 2e-2 * sqrt((double)(n[1] > n[2] ? n[1] : n[2])));
            sp_linear_destroy(linear);
        }
    }
}

static void bf16_values_without_rounding_are_multiplied_exactly(void **state) {
    fill_fixture();
    for (size_t i = 0; i < MAX_WEIGHT; i++) f.weight[i] = truncf(f.weight[i] * 100);
    for (size_t i = 0; i < MAX_ROWS * MAX_IN; i++) f.x[i] = truncf(f.x[i] * 100);
    for (size_t i = 0; i < MAX_ROWS * MAX_OUT; i++) f.dy[i] = truncf(f.dy[i] * 100);
    for (size_t k = 0; k < sp_linear_n_kernels_bf16; k++)
        for (size_t s = 0; s < N_SHAPES && sp_linear_kernels_bf16[k].supported(); s++) {
            const sp_tensor weight = as_tensor(SP_F32, shapes[s], f.weight); /* so: converted */
            sp_linear *linear = NULL;
            assert_int_equal(sp_linear_create(&linear, &weight, NULL, SP_PRECISION_BF16), SP_OK);
            linear->kernel = &sp_linear_kernels_bf16[k];
            check_passes(linear, shapes[s], false, 0);
            sp_linear_destroy(linear);
        }
}

/* A kernel that int8 layers may have here, or NULL. */
static const sp_linear_kernel *int8_kernel(size_t k) {
    const sp_linear_kernel *kernel = &sp_linear_kernels_int8[k];
    return kernel->supported() ? kernel : NULL;
}

/* Both operands have 8 bits or more, each error at most half a step of a row's greatest value, which
   turning rows may have raised: relative to sums of n terms as with bf16. */
static void int8_layers_match_f64_within_their_precision(void **state) {
    fill_fixture();
    for (size_t k = 0; k < sp_linear_n_kernels_int8; k++)
        if (int8_kernel(k) == NULL)
            print_message("skipped: needs VNNI (%s)\n", sp_linear_kernels_int8[k].name);
    for (size_t s = 0; s < N_SHAPES; s++) {
        const size_t *n = shapes[s];
        const sp_tensor tensors[] = {as_tensor(SP_F32, n, f.weight),
                                     as_tensor(SP_BF16, n, f.weight_bf16)};
        const sp_tensor bias = {.dtype = SP_F32, .n_dims = 1, .shape = {n[1]}, .data = f.bias};
        for (size_t k = 0; k < 2 * sp_linear_n_kernels_int8; k++) {
            sp_linear *linear = NULL;
            if (int8_kernel(k / 2) == NULL) continue;
            assert_int_equal(sp_linear_create(&linear, &tensors[k % 2], &bias, SP_PRECISION_INT8),
                             SP_OK);
            linear->kernel = int8_kernel(k / 2);
            check_passes(linear, n, true, 1.2e-2 * sqrt((double)(n[1] > n[2] ? n[1] : n[2])));
            sp_linear_destroy(linear);
        }
    }
}

/* Weights and rows that are whole steps; n_in is odd, so that no row is turned. The greatest weights
   meet the greatest x in pairs, where a product that saturates goes wrong by a half. In u8 a step is 1
   for a row from 0 to 255; s16's rows are of as many steps as 127 products leave room for. */
static void int8_products_of_whole_steps_are_exact(void **state) {
    enum { N_IN = 127, N_OUT = 40, S16_STEPS = 32767 };
    const size_t n[3] = {MAX_ROWS, N_OUT, N_IN};
    fill_fixture();
    const sp_tensor weight = as_tensor(SP_F32, n, f.weight);
    for (size_t i = 0; i < N_OUT * N_IN; i++)
        f.weight[i] = i / N_IN % 2 == 0 ? 127 : truncf(f.weight[i] * 127);
    for (size_t i = 0; i < N_OUT; i++) f.weight[i * N_IN] = -127;
    for (size_t k = 0; k < sp_linear_n_kernels_int8; k++) {
        const bool is_u8 = k == 0;
        sp_linear *linear = NULL;
        if (int8_kernel(k) == NULL) continue;
        fill_values(f.x, MAX_ROWS * N_IN, 3);
        for (size_t i = 0; i < MAX_ROWS * N_IN; i++)
            f.x[i] = i / N_IN % 2 == 0 ? (is_u8 ? 255 : S16_STEPS)
                                       : truncf(f.x[i] * (is_u8 ? 100 : S16_STEPS));
        for (size_t r = 1; r < MAX_ROWS; r += 2)
            f.x[r * N_IN] = is_u8 ? -100 : -S16_STEPS, f.x[r * N_IN + 1] = is_u8 ? 155 : 1;
        assert_int_equal(sp_linear_create(&linear, &weight, NULL, SP_PRECISION_INT8), SP_OK);
        linear->kernel = int8_kernel(k);
        for (size_t n_rows = 1; n_rows <= MAX_ROWS; n_rows++) {
            const size_t now[3] = {n_rows, N_OUT, N_IN};
            check_passes(linear, now, false, 127 * rounding); /* of gradients by such weights */
        }
        sp_linear_destroy(linear);
    }
}

static void int8_rows_that_are_not_finite_spoil_no_other(void **state) {
    static float y[MAX_ROWS * MAX_OUT];
    fill_fixture();
    for (size_t s = 0; s < N_SHAPES; s++) {
        const size_t *n = shapes[s];
        if (n[0] < 3) continue;
        const sp_tensor weight = as_tensor(SP_F32, n, f.weight);
        sp_linear *linear = NULL;
        assert_int_equal(sp_linear_create(&linear, &weight, NULL, SP_PRECISION_INT8), SP_OK);
        const float kept = f.x[n[2]];
        f.x[n[2]] = NAN;
        void *scratch = aligned_alloc(64, (sp_linear_scratch_bytes(linear, n[0]) + 63) & ~63UL);
        sp_linear_forward(linear, y, f.x, n[0], scratch);
        for (size_t k = 0; k < n[0] * n[1]; k++) assert_true(isnan(y[k]) == (k / n[1] == 1));
        free(scratch);
        f.x[n[2]] = kept;
        sp_linear_destroy(linear);
    }
}

static void weight_gradients_are_added(void **state) {
    static float dweight[MAX_WEIGHT], dbias[MAX_OUT];
    fill_fixture();
    for (size_t s = 0; s < N_SHAPES; s++) {
        const size_t *n = shapes[s];
        for (size_t i = 0; i < MAX_WEIGHT; i++) dweight[i] = 1;
        for (size_t i = 0; i < MAX_OUT; i++) dbias[i] = 2;
        sp_linear_backward_weight(dweight, dbias, f.dy, f.x, n[0], n[1], n[2]);
        for (size_t k = 0; k < n[1] * n[2]; k++)
            assert_close(dweight[k], 1 + slope_of_weight(n, k / n[2], k % n[2]), rounding);
        for (size_t i = 0; i < n[1]; i++) {
            double sum = 2;
            for (size_t r = 0; r < n[0]; r++) sum += (double)f.dy[r * n[1] + i];
            assert_close(dbias[i], sum, rounding);
        }
        sp_linear_backward_weight(dweight, NULL, f.dy, f.x, n[0], n[1], n[2]);
    }
}

static void plain_weights_stay_in_place_and_rows_are_read(void **state) {
    fill_fixture();
    const size_t n[3] = {1, 4, 5};
    float row[5];
    const struct {
        sp_dtype dtype;
        const void *data;
        sp_precision precision;
        size_t owned;
    } cases[] = {
        {SP_F32, f.weight, SP_PRECISION_F32, 0},
        {SP_BF16, f.weight_bf16, SP_PRECISION_BF16, 0},
        {SP_BF16, f.weight_bf16, SP_PRECISION_F32, 20 * sizeof(float)},
        {SP_F32, f.weight, SP_PRECISION_BF16, 20 * sizeof(uint16_t)},
        {SP_F32, f.weight, SP_PRECISION_INT8, 20 + 4 * 8},
        {SP_BF16, f.weight_bf16, SP_PRECISION_INT8, 20 + 4 * 8},
        {SP_F32, (char *)f.weight + 1, SP_PRECISION_F32, 20 * sizeof(float)}, /* not aligned */
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const sp_tensor weight = as_tensor(cases[c].dtype, n, cases[c].data);
        sp_linear *linear = NULL;
        assert_int_equal(sp_linear_create(&linear, &weight, NULL, cases[c].precision), SP_OK);
        assert_int_equal(sp_linear_owned_bytes(linear), cases[c].owned);
        assert_int_equal(sp_linear_copied_bytes(&weight, cases[c].precision), cases[c].owned);
        sp_linear_read_row(linear, row, 2);
        for (size_t j = 0; j < 5 && c < 6; j++) assert_close(row[j], f.weight[10 + j], 1e-2);
        sp_linear_destroy(linear);
    }
    sp_linear_destroy(NULL);
}

static void transposed_weight_is_copied_whatever_its_type(void **state) {
    fill_fixture();
    const size_t n[3] = {1, 4, 5};
    float row[5];
    for (sp_precision p = 0; p < SP_N_PRECISIONS; p++)
        for (size_t t = 0; t < 2; t++) {
            sp_tensor weight =
                t == 0 ? as_tensor(SP_F32, n, f.weight) : as_tensor(SP_BF16, n, f.weight_bf16);
            sp_linear *linear = NULL;
            weight.is_transposed = true;
            assert_int_equal(sp_linear_create(&linear, &weight, NULL, p), SP_OK);
            assert_true(sp_linear_owned_bytes(linear) > 0);
            sp_linear_read_row(linear, row, 2);
            for (size_t j = 0; j < 5; j++) assert_close(row[j], f.weight[j * 4 + 2], 1e-2);
            sp_linear_destroy(linear);
        }
}

static void shapes_that_do_not_fit_are_refused(void **state) {
    fill_fixture();
    const size_t n[3] = {1, 4, 5};
    const sp_tensor weight = as_tensor(SP_F32, n, f.weight);
    const sp_tensor vector = {.dtype = SP_F32, .n_dims = 1, .shape = {5}, .data = f.bias};
    sp_linear *linear = NULL;
    assert_int_equal(sp_linear_create(&linear, &vector, NULL, SP_PRECISION_F32), SP_BAD_DATA);
    assert_int_equal(sp_linear_create(&linear, &weight, &vector, SP_PRECISION_F32), SP_BAD_DATA);
    assert_int_equal(sp_linear_create(&linear, &weight, &weight, SP_PRECISION_F32), SP_BAD_DATA);
    const sp_tensor wide = {.dtype = SP_F32, .n_dims = 2, .shape = {1, SP_MOST_INT8_IN + 1}};
    assert_int_equal(sp_linear_create(&linear, &wide, NULL, SP_PRECISION_INT8), SP_BAD_DATA);
    assert_null(linear);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_layers_match_f64),
        cmocka_unit_test(bf16_layers_match_f64_within_their_precision),
        cmocka_unit_test(bf16_values_without_rounding_are_multiplied_exactly),
        cmocka_unit_test(int8_layers_match_f64_within_their_precision),
        cmocka_unit_test(int8_products_of_whole_steps_are_exact),
        cmocka_unit_test(int8_rows_that_are_not_finite_spoil_no_other),
        cmocka_unit_test(weight_gradients_are_added),
        cmocka_unit_test(plain_weights_stay_in_place_and_rows_are_read),
        cmocka_unit_test(transposed_weight_is_copied_whatever_its_type),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
