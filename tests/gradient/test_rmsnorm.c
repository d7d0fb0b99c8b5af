#include "tests/check.h"

#include "tensor/rmsnorm.h"
#include "tests/values.h"

enum { MAX_ROWS = 5, MAX_D = 131, MAX_VALUES = MAX_ROWS * MAX_D };
static const float EPS = 1e-6F;

/* {n_rows, d}: no rows; d below, at and beyond a vector of 8; a tail; several column blocks. */
static const size_t shapes[][2] = {{0, 4}, {1, 1}, {2, 7}, {3, 8}, {4, 67}, {MAX_ROWS, MAX_D}};

typedef struct fixture {
    float x[MAX_VALUES], dy[MAX_VALUES], weight[MAX_D];
} fixture;

/* y[r,i] by definition, in f64; shares nothing with the kernels. */
static double output(const fixture *f, size_t d, size_t r, size_t i) {
    double sum = 0;
    for (size_t j = 0; j < d; j++) sum += pow((double)f->x[r * d + j], 2);
    return (double)f->x[r * d + i] * (double)f->weight[i] / sqrt(sum / (double)d + (double)EPS);
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

static void check_shape(const sp_rmsnorm_kernel *kernel, size_t n_rows, size_t d) {
    fixture f;
    fill_values(f.x, MAX_VALUES, 1);
    fill_values(f.dy, MAX_VALUES, 2);
    fill_values(f.weight, MAX_D, 3);
    sp_rmsnorm norm = sp_rmsnorm_make(f.weight, d, EPS);
    norm.kernel = kernel;

    float y[MAX_VALUES], rstd[MAX_ROWS], dx[MAX_VALUES], added[MAX_VALUES], dweight[MAX_D];
    for (size_t i = 0; i < d; i++) dweight[i] = 1; /* must be added to */
    sp_rmsnorm_forward(&norm, y, rstd, f.x, n_rows);
    for (size_t k = 0; k < n_rows * d; k++) dx[k] = NAN; /* must not be read */
    sp_rmsnorm_backward(&norm, dx, 0, dweight, f.dy, f.x, rstd, n_rows);
    for (size_t k = 0; k < n_rows * d; k++) added[k] = f.x[k];
    sp_rmsnorm_backward(&norm, added, 1, NULL, f.dy, f.x, rstd, n_rows);

    const double rounding = 1e-6;   /* a few steps of f32 */
    const double truncation = 1e-4; /* 1e-3 squared, times a third derivative of up to 100 */
    for (size_t k = 0; k < n_rows * d; k++) {
        assert_close(y[k], output(&f, d, k / d, k % d), rounding);
        assert_close(dx[k], slope(&f, &f.x[k], n_rows, d), truncation);
        assert_close(added[k], f.x[k] + dx[k], rounding);
    }
    for (size_t i = 0; i < d; i++) /* linear in weight: no truncation */
        assert_close(dweight[i], 1 + slope(&f, &f.weight[i], n_rows, d), rounding);
}

static void every_kernel_matches_definition_and_differences(void **state) {
    for (size_t k = 0; k < sp_rmsnorm_n_kernels; k++) {
        const sp_rmsnorm_kernel *kernel = &sp_rmsnorm_kernels[k];
        if (!kernel->supported()) print_message("skipped: needs %s\n", kernel->name);
        for (size_t s = 0; kernel->supported() && s < sizeof shapes / sizeof shapes[0]; s++)
            check_shape(kernel, shapes[s][0], shapes[s][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_matches_definition_and_differences)};
    return cmocka_run_group_tests_name("rmsnorm", tests, NULL, NULL);
}
