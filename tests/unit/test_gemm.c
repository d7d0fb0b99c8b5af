#include "tests/check.h"

#include "tensor/gemm.h"
#include "tests/values.h"

enum { MAX = 128 * 1024 };

/* {m, n, k}: empty ones, single values, below and beyond vectors and register tiles; and rows of b
   that lie whole pages apart. */
static const size_t shapes[][3] = {{0, 3, 2},    {2, 0, 3},       {3, 2, 0},     {1, 1, 1},
                                   {1, 17, 5},   {5, 1, 33},      {7, 13, 31},   {33, 65, 64},
                                   {1, 64, 300}, {120, 1024, 12}, {120, 6, 1024}};

static size_t with_margin(size_t row) { return row % 1024 == 0 ? row : row + 1; }

typedef enum form { NT, NN, TN } form;

static double entry(const float *x, size_t ld, bool transposed, size_t i, size_t j) {
    return (double)(transposed ? x[j * ld + i] : x[i * ld + j]);
}

/* Runs one product inside wider matrices, and holds it to f64 and the margin to its old value. */
static void check_product(const sp_gemm_kernel *kernel, form f, sp_gemm size) {
    static float a[MAX], b[MAX], y[MAX], before[MAX];
    const bool a_transposed = f == TN, b_transposed = f == NT;
    const size_t ld_a = (a_transposed ? size.m : size.k) + 3;
    const size_t ld_b = with_margin(b_transposed ? size.k : size.n), ld_y = size.n + 2;
    fill_values(a, MAX, 1);
    fill_values(b, MAX, 2);
    fill_values(y, MAX, 3);
    if (size.beta == 0)
        for (size_t i = 0; i < size.m; i++)
            for (size_t j = 0; j < size.n; j++) y[i * ld_y + j] = NAN; /* must not be read */
    memcpy(before, y, sizeof before);

    if (kernel != NULL)
        kernel->gemm(&size, a_transposed, b_transposed, y, ld_y, a, ld_a, b, ld_b);
    else if (f == NT)
        sp_gemm_nt(size, y, ld_y, a, ld_a, b, ld_b);
    else if (f == NN)
        sp_gemm_nn(size, y, ld_y, a, ld_a, b, ld_b);
    else
        sp_gemm_tn(size, y, ld_y, a, ld_a, b, ld_b);

    const double rounding = 2e-5; /* f32 sums of up to 1,024 terms below 1 */
    for (size_t i = 0; i < size.m; i++)
        for (size_t j = 0; j < size.n; j++) {
            double sum = 0;
            for (size_t k = 0; k < size.k; k++)
                sum += entry(a, ld_a, a_transposed, i, k) * entry(b, ld_b, b_transposed, k, j);
            const double old = size.beta == 0 ? 0 : (double)(size.beta * before[i * ld_y + j]);
            assert_close(y[i * ld_y + j], (double)size.alpha * sum + old, rounding);
        }
    for (size_t i = 0; i < MAX; i++)
        if (i / ld_y >= size.m || i % ld_y >= size.n) assert_true(y[i] == before[i]);
}

static void check_shapes(const sp_gemm_kernel *kernel) {
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int f = NT; f <= TN; f++)
            for (int beta = 0; beta < 2; beta++) {
                const size_t *n = shapes[s];
                const sp_gemm size = {n[0], n[1], n[2], .alpha = 0.5F, .beta = 2.0F * (float)beta};
                if (kernel != NULL && n[0] * n[1] * n[2] == 0) continue;
                check_product(kernel, (form)f, size);
            }
}

static void every_kernel_matches_f64_within_wider_matrices(void **state) {
    for (size_t k = 0; k < sp_gemm_n_kernels; k++)
        if (sp_gemm_kernels[k].supported())
            check_shapes(&sp_gemm_kernels[k]);
        else
            print_message("skipped: needs %s\n", sp_gemm_kernels[k].name);
}

static void the_chosen_kernel_takes_empty_products_too(void **state) { check_shapes(NULL); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_matches_f64_within_wider_matrices),
        cmocka_unit_test(the_chosen_kernel_takes_empty_products_too),
    };
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
