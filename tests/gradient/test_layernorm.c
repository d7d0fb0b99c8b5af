#include "tests/check.h"

#include "tensor/layernorm.h"
#include "tests/values.h"

enum { MAX_ROWS = 5, MAX_D = 131, MAX_VALUES = MAX_ROWS * MAX_D };
static const float EPS = 1e-5F;

/* {n_rows, d}: no rows; d below, at and beyond a vector of 8; a tail; several column blocks. */
static const size_t shapes[][2] = {{0, 4}, {2, 2}, {2, 7}, {3, 8}, {4, 67}, {MAX_ROWS, MAX_D}};

typedef struct fixture {
    float x[MAX_VALUES], dy[MAX_VALUES], weight[MAX_D], bias[MAX_D];
} fixture;

/* y[r,i] by definition, in f64; shares nothing with the kernel. */
static double output(const fixture *f, size_t d, size_t r, size_t i) {
    double mean = 0, variance = 0;
    for (size_t j = 0; j < d; j++) mean += (double)f->x[r * d + j] / (double)d;
    for (size_t j = 0; j < d; j++) variance += pow((double)f->x[r * d + j] - mean, 2) / (double)d;
    return ((double)f->x[r * d + i] - mean) / sqrt(variance + (double)EPS) * (double)f->weight[i] +
           (double)f->bias[i];
}

/* L = sum dy * y, so that dL/dy is dy. */
static double loss(const fixture *f, size_t n_rows, size_t d) {
    double sum = 0;
    for (size_t k = 0; k < n_rows * d; k++) sum += (double)f->dy[k] * output(f, d, k / d, k % d);
    return sum;
}

/* dL/dvalue by central difference, where value lies inside *f, over the width that f32 took. */
static double slope(const fixture *f, float *value, size_t n_rows, size_t d) {
    const float middle = *value, low = middle - 1e-3F, high = middle + 1e-3F;
    *value = high;
    const double above = loss(f, n_rows, d);
    *value = low;
    const double below = loss(f, n_rows, d);
    *value = middle;
    return (above - below) / ((double)high - (double)low);
}

static void check_shape(size_t n_rows, size_t d) {
    fixture f;
    fill_values(f.x, MAX_VALUES, 1);
    fill_values(f.dy, MAX_VALUES, 2);
    fill_values(f.weight, MAX_D, 3);
    fill_values(f.bias, MAX_D, 4);
    const sp_layernorm norm = {.weight = f.weight, .bias = f.bias, .d = d, .eps = EPS};

    float y[MAX_VALUES], mean[MAX_ROWS], rstd[MAX_ROWS], dx[MAX_VALUES], added[MAX_VALUES];
    float dweight[MAX_D], dbias[MAX_D];
    for (size_t i = 0; i < d; i++) dweight[i] = dbias[i] = 1; /* must be added to */
    sp_layernorm_forward(&norm, y, mean, rstd, f.x, n_rows);
    for (size_t k = 0; k < n_rows * d; k++) dx[k] = NAN; /* must not be read */
    sp_layernorm_backward(&norm, dx, 0, dweight, dbias, f.dy, f.x, mean, rstd, n_rows);
    for (size_t k = 0; k < n_rows * d; k++) added[k] = f.x[k];
    sp_layernorm_backward(&norm, added, 1, NULL, NULL, f.dy, f.x, mean, rstd, n_rows);

    const double rounding = 3e-6;   /* a few steps of f32 */
    const double truncation = 1e-4; /* 1e-3 squared, times a third derivative of up to 100 */
    for (size_t k = 0; k < n_rows * d; k++) {
        assert_close(y[k], output(&f, d, k / d, k % d), rounding);
        assert_close(dx[k], slope(&f, &f.x[k], n_rows, d), truncation);
        assert_close(added[k], f.x[k] + dx[k], rounding);
    }
    for (size_t i = 0; i < d; i++) { /* linear in both: no truncation */
        assert_close(dweight[i], 1 + slope(&f, &f.weight[i], n_rows, d), rounding);
        assert_close(dbias[i], 1 + slope(&f, &f.bias[i], n_rows, d), rounding);
    }
}

static void both_passes_match_definition_and_differences(void **state) {
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        check_shape(shapes[s][0], shapes[s][1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_match_definition_and_differences)};
    return cmocka_run_group_tests_name("layernorm", tests, NULL, NULL);
}
