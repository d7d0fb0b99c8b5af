/* Every version of the products of few rows against f64, at sizes around each width of a vector and of
   a block. */
#include "tests/check.h"

#include "tensor/cpu.h"
#include "tensor/f16.h"
#include "tensor/few_rows.h"
#include "tensor/tensor.h"
#include "tests/values.h"

#include <stdlib.h>

enum { MAX_ROWS = 19, MAX_OUT = 75, MAX_IN = 130, LONG_IN = 700, MAX_WEIGHT = MAX_OUT * LONG_IN };

/* From 16 rows on bf16 is expanded, in parts of a chunk where LONG_IN values are in a row. */
static const size_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, MAX_ROWS};
static const size_t ins[] = {0, 1, 7, 8, 9, 31, 32, 33, 64, MAX_IN, LONG_IN};
static const size_t outs[] = {0, 1, 2, 3, 4, 23, 24, 25, MAX_OUT};
enum {
    N_ROWS = sizeof rows / sizeof rows[0],
    N_INS = sizeof ins / sizeof ins[0],
    N_OUTS = sizeof outs / sizeof outs[0]
};

typedef struct fixture {
    float weight[MAX_WEIGHT], x[MAX_ROWS * LONG_IN];
    uint16_t weight_bf16[MAX_WEIGHT];
    int8_t weight_s8[MAX_WEIGHT];
    uint8_t x_u8[MAX_ROWS * LONG_IN];
    int16_t x_s16[MAX_ROWS * LONG_IN];
} fixture;
static fixture f;

static void fill_fixture(void) {
    fill_values(f.weight, MAX_WEIGHT, 1);
    fill_values(f.x, MAX_ROWS * LONG_IN, 2);
    for (size_t i = 0; i < MAX_WEIGHT; i++) f.weight_s8[i] = (int8_t)lrintf(f.weight[i] * 127);
    for (size_t i = 0; i < MAX_ROWS * LONG_IN; i++) f.x_u8[i] = (uint8_t)lrintf((f.x[i] + 1) * 127);
    sp_f32_to_bf16(f.weight_bf16, f.weight, MAX_WEIGHT);
}

static const double rounding = 5e-5; /* f32 sums of up to LONG_IN terms below 1 */

static void check_floats(const sp_few_rows_kernel *kernel, sp_few_rows n) {
    static float y[MAX_ROWS * MAX_OUT], y_bf16[MAX_ROWS * MAX_OUT];
    for (size_t i = 0; i < n.n_rows * n.n_out; i++) y[i] = y_bf16[i] = NAN;
    kernel->f32(n, y, f.x, f.weight);
    kernel->bf16(n, y_bf16, f.x, f.weight_bf16);
    for (size_t r = 0; r < n.n_rows; r++)
        for (size_t i = 0; i < n.n_out; i++) {
            double sum = 0, sum_bf16 = 0;
            for (size_t k = 0; k < n.n_in; k++) {
                const double x = (double)f.x[r * n.n_in + k];
                const uint32_t bits = (uint32_t)f.weight_bf16[i * n.n_in + k] << 16;
                sum += x * (double)f.weight[i * n.n_in + k];
                sum_bf16 += x * (double)sp_float_of_bits(bits);
            }
            assert_close(y[r * n.n_out + i], sum, rounding);
            assert_close(y_bf16[r * n.n_out + i], sum_bf16, rounding);
        }
}

static void check_int8(const sp_few_rows_kernel *kernel, sp_few_rows n) {
    static int32_t y[MAX_ROWS * MAX_OUT], y_s16[MAX_ROWS * MAX_OUT];
    for (size_t i = 0; i < n.n_rows * n.n_out; i++) y[i] = y_s16[i] = -7;
    kernel->u8s8(n, y, f.x_u8, f.weight_s8);
    kernel->s16s8(n, y_s16, f.x_s16, f.weight_s8);
    for (size_t r = 0; r < n.n_rows; r++)
        for (size_t i = 0; i < n.n_out; i++) {
            long sum = 0, sum_s16 = 0;
            for (size_t k = 0; k < n.n_in; k++) {
                sum += (long)f.x_u8[r * n.n_in + k] * f.weight_s8[i * n.n_in + k];
                sum_s16 += (long)f.x_s16[r * n.n_in + k] * f.weight_s8[i * n.n_in + k];
            }
            assert_int_equal(y[r * n.n_out + i], sum);
            assert_int_equal(y_s16[r * n.n_out + i], sum_s16);
        }
}

/* The version, or NULL with a message where this CPU has it not. */
static const sp_few_rows_kernel *version(size_t k) {
    const sp_few_rows_kernel *kernel = &sp_few_rows_kernels[k];
    if (kernel->supported()) return kernel;
    print_message("skipped: needs %s\n", kernel->name);
    return NULL;
}

static void every_version_matches_f64_at_every_size(void **state) {
    for (size_t k = 0; k < sp_few_rows_n_kernels; k++) {
        const sp_few_rows_kernel *kernel = version(k);
        if (kernel == NULL) continue;
        fill_fixture();
        for (size_t r = 0; r < N_ROWS; r++)
            for (size_t i = 0; i < N_OUTS; i++)
                for (size_t j = 0; j < N_INS; j++) {
                    const sp_few_rows n = {rows[r], outs[i], ins[j]};
                    check_floats(kernel, n);
                    check_int8(kernel, n);
                }
    }
}

static void extreme_int8_values_do_not_saturate(void **state) {
    for (size_t k = 0; k < sp_few_rows_n_kernels; k++) {
        const sp_few_rows_kernel *kernel = version(k);
        if (kernel == NULL) continue;
        memset(f.x_u8, 255, sizeof f.x_u8);
        for (size_t i = 0; i < MAX_ROWS * MAX_IN; i++)
            f.x_s16[i] = i / MAX_IN % 3 == 0 ? -32767 : 32767;
        for (size_t i = 0; i < MAX_WEIGHT; i++) f.weight_s8[i] = i / MAX_IN % 2 == 0 ? 127 : -127;
        for (size_t n_rows = 1; n_rows <= 4; n_rows++)
            check_int8(kernel, (sp_few_rows){n_rows, MAX_OUT, MAX_IN});
    }
}

static void a_row_is_the_same_bits_whatever_is_beside_it(void **state) {
    static float alone[MAX_OUT], together[MAX_ROWS * MAX_OUT];
    fill_fixture();
    for (size_t k = 0; k < sp_few_rows_n_kernels; k++) {
        const sp_few_rows_kernel *kernel = version(k);
        for (size_t n_rows = 2; n_rows <= MAX_ROWS && kernel != NULL; n_rows++)
            for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
                const sp_few_rows one = {1, MAX_OUT, LONG_IN}, all = {n_rows, MAX_OUT, LONG_IN};
                if (is_bf16)
                    kernel->bf16(all, together, f.x, f.weight_bf16);
                else
                    kernel->f32(all, together, f.x, f.weight);
                for (size_t r = 0; r < n_rows; r++) {
                    if (is_bf16)
                        kernel->bf16(one, alone, f.x + r * LONG_IN, f.weight_bf16);
                    else
                        kernel->f32(one, alone, f.x + r * LONG_IN, f.weight);
                    assert_memory_equal(together + r * MAX_OUT, alone, sizeof alone);
                }
            }
    }
}

static void the_choice_is_no_reference_where_better_may_be_used(void **state) {
    const sp_few_rows_kernel *last = &sp_few_rows_kernels[sp_few_rows_n_kernels - 1];
    assert_true(last->supported() && sp_few_rows_chosen()->supported());
    if (sp_cpu_may_use(SP_ISA_AVX2)) assert_true(sp_few_rows_chosen() != last);
    if (sp_cpu_may_use(SP_ISA_AVX512_VNNI)) assert_true(sp_few_rows_chosen()->u8s8 != last->u8s8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_matches_f64_at_every_size),
        cmocka_unit_test(extreme_int8_values_do_not_saturate),
        cmocka_unit_test(a_row_is_the_same_bits_whatever_is_beside_it),
        cmocka_unit_test(the_choice_is_no_reference_where_better_may_be_used),
    };
    return cmocka_run_group_tests_name("few_rows", tests, NULL, NULL);
}
