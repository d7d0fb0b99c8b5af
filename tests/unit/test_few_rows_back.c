/* Every version of the products of few rows with a stored weight the other way against f64, at sizes
   around each width of a vector and of a block. */
#include "tests/check.h"

#include "tensor/cpu.h"
#include "tensor/f16.h"
#include "tensor/few_rows_back.h"
#include "tensor/tensor.h"
#include "tests/values.h"

#include <omp.h>
#include <stdlib.h>

/* 1,100 columns of 32 rows are more than a tile. */
enum { MAX_ROWS = SP_FEW_ROWS_BACK, MAX_OUT = 75, MAX_IN = 1100, MAX_WEIGHT = MAX_OUT * MAX_IN };

static const size_t n_rows[] = {0, 1, 2, 3, 9, MAX_ROWS};
static const size_t ins[] = {0, 1, 7, 8, 9, 33, 130, MAX_IN};
static const size_t outs[] = {0, 1, 7, 8, 9, 25, MAX_OUT};
enum {
    N_ROWS = sizeof n_rows / sizeof n_rows[0],
    N_INS = sizeof ins / sizeof ins[0],
    N_OUTS = sizeof outs / sizeof outs[0]
};

typedef struct fixture {
    float weight[MAX_WEIGHT], dy[MAX_ROWS * MAX_OUT], before[MAX_ROWS * MAX_IN], scales[MAX_OUT];
    uint16_t weight_bf16[MAX_WEIGHT];
    int8_t weight_s8[MAX_WEIGHT];
} fixture;
static fixture f;

static void fill_fixture(void) {
    fill_values(f.weight, MAX_WEIGHT, 1);
    fill_values(f.dy, MAX_ROWS * MAX_OUT, 2);
    fill_values(f.before, MAX_ROWS * MAX_IN, 3);
    fill_values(f.scales, MAX_OUT, 4);
    for (size_t i = 0; i < MAX_WEIGHT; i++) f.weight_s8[i] = (int8_t)lrintf(f.weight[i] * 127);
    for (size_t i = 0; i < MAX_OUT; i++) f.scales[i] = (1 + f.scales[i]) / 127;
    sp_f32_to_bf16(f.weight_bf16, f.weight, MAX_WEIGHT);
}

static void multiply(const sp_few_rows_back_kernel *kernel, bool is_s8, sp_few_rows n, float *dx,
                     const float *dy) {
    if (is_s8)
        kernel->s8(n, dx, dy, f.weight_s8, f.scales);
    else
        kernel->bf16(n, dx, dy, f.weight_bf16);
}

static double weight_at(bool is_s8, sp_few_rows n, size_t i, size_t k) {
    if (is_s8) return (double)f.scales[i] * f.weight_s8[i * n.n_in + k];
    return (double)sp_float_of_bits((uint32_t)f.weight_bf16[i * n.n_in + k] << 16);
}

static const double rounding = 1e-5; /* f32 sums of up to 76 terms of at most 2 */

static void check_size(const sp_few_rows_back_kernel *kernel, bool is_s8, sp_few_rows n) {
    static float dx[MAX_ROWS * MAX_IN + 1];
    memcpy(dx, f.before, sizeof f.before);
    dx[n.n_rows * n.n_in] = 77; /* what lies behind is not written */
    multiply(kernel, is_s8, n, dx, f.dy);
    for (size_t r = 0; r < n.n_rows; r++)
        for (size_t k = 0; k < n.n_in; k++) {
            double sum = (double)f.before[r * n.n_in + k];
            for (size_t i = 0; i < n.n_out; i++)
                sum += (double)f.dy[r * n.n_out + i] * weight_at(is_s8, n, i, k);
            assert_close(dx[r * n.n_in + k], sum, rounding);
        }
    assert_true(dx[n.n_rows * n.n_in] == 77);
}

/* The version, or NULL with a message where this CPU has it not. */
static const sp_few_rows_back_kernel *version(size_t v) {
    const sp_few_rows_back_kernel *kernel = &sp_few_rows_back_kernels[v];
    if (kernel->supported()) return kernel;
    print_message("skipped: needs %s\n", kernel->name);
    return NULL;
}

static void every_version_matches_f64_at_every_size(void **state) {
    fill_fixture();
    for (size_t v = 0; v < sp_few_rows_back_n_kernels; v++) {
        const sp_few_rows_back_kernel *kernel = version(v);
        for (int is_s8 = 0; kernel != NULL && is_s8 < 2; is_s8++)
            for (size_t r = 0; r < N_ROWS; r++)
                for (size_t i = 0; i < N_OUTS; i++)
                    for (size_t j = 0; j < N_INS; j++)
                        check_size(kernel, is_s8, (sp_few_rows){n_rows[r], outs[i], ins[j]});
    }
}

static void a_row_is_the_same_bits_whatever_is_beside_it_and_on_any_threads(void **state) {
    static float alone[MAX_IN], together[MAX_ROWS * MAX_IN];
    const int n_before = omp_get_max_threads();
    fill_fixture();
    for (size_t v = 0; v < sp_few_rows_back_n_kernels; v++) {
        const sp_few_rows_back_kernel *kernel = version(v);
        for (int is_s8 = 0; kernel != NULL && is_s8 < 2; is_s8++)
            for (int n_threads = 1; n_threads <= 3; n_threads++) {
                omp_set_num_threads(n_threads);
                memcpy(together, f.before, sizeof together);
                multiply(kernel, is_s8, (sp_few_rows){MAX_ROWS, MAX_OUT, MAX_IN}, together, f.dy);
                omp_set_num_threads(1);
                for (size_t r = 0; r < MAX_ROWS; r++) {
                    memcpy(alone, f.before + r * MAX_IN, sizeof alone);
                    multiply(kernel, is_s8, (sp_few_rows){1, MAX_OUT, MAX_IN}, alone,
                             f.dy + r * MAX_OUT);
                    assert_memory_equal(together + r * MAX_IN, alone, sizeof alone);
                }
            }
    }
    omp_set_num_threads(n_before);
}

static void the_choice_is_no_reference_where_the_cpu_has_better(void **state) {
    const sp_few_rows_back_kernel *last = &sp_few_rows_back_kernels[sp_few_rows_back_n_kernels - 1];
    assert_true(last->supported() && sp_few_rows_back_chosen()->supported());
    if (sp_cpu_may_use(SP_ISA_AVX2)) assert_true(sp_few_rows_back_chosen() != last);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_matches_f64_at_every_size),
        cmocka_unit_test(a_row_is_the_same_bits_whatever_is_beside_it_and_on_any_threads),
        cmocka_unit_test(the_choice_is_no_reference_where_the_cpu_has_better),
    };
    return cmocka_run_group_tests_name("few_rows_back", tests, NULL, NULL);
}
