#include "tests/check.h"

#include "io/gguf.h"
#include "io/safetensors.h"
#include "tests/values.h"

#include <stdlib.h>

static const char *const quantised = "tests/fixtures/model_files/quantised.gguf";
static const char *const dequantised = "tests/fixtures/model_files/quantised.safetensors";

/* Rows of a tensor, its vectors being one. */
static size_t n_rows_of(const sp_tensor *tensor) {
    return sp_tensor_n_values(tensor) / sp_tensor_row_values(tensor);
}

static float *read_all(const sp_tensor *tensor) {
    float *values = calloc(sp_tensor_n_values(tensor), sizeof *values);
    assert_non_null(values);
    sp_tensor_read_rows(tensor, values, 0, n_rows_of(tensor));
    return values;
}

static void every_type_equals_ggufs_own_dequantisation_bit_for_bit(void **state) {
    sp_gguf gguf = {0};
    sp_mapping mapping = {0};
    sp_tensor_table expected = {0};
    size_t n_left_out = 0;
    bool seen[SP_N_DTYPES] = {false};
    assert_int_equal(sp_gguf_open(&gguf, quantised), SP_OK);
    assert_int_equal(sp_mapping_open(&mapping, dequantised), SP_OK);
    assert_int_equal(sp_safetensors_read(&expected, &n_left_out, &mapping, dequantised), SP_OK);
    assert_int_equal(sp_tensor_table_sort(&expected), SP_OK);
    assert_int_equal(gguf.tensors.n_entries, expected.n_entries);
    for (size_t i = 0; i < expected.n_entries; i++) {
        const sp_tensor *wanted = &expected.entries[i].tensor;
        const sp_tensor *tensor = sp_tensor_table_find(&gguf.tensors, expected.entries[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->n_dims, wanted->n_dims);
        assert_memory_equal(tensor->shape, wanted->shape, sizeof tensor->shape);
        float *values = read_all(tensor);
        assert_memory_equal(values, wanted->data, sp_tensor_n_values(wanted) * sizeof *values);
        free(values);
        seen[tensor->dtype] = true;
    }
    for (sp_dtype dtype = 0; dtype < SP_N_DTYPES; dtype++) assert_true(seen[dtype]);
    sp_tensor_table_free(&expected);
    sp_mapping_close(&mapping);
    sp_gguf_close(&gguf);
}

static void rows_read_one_by_one_and_from_any_byte_are_the_same(void **state) {
    sp_gguf gguf = {0};
    assert_int_equal(sp_gguf_open(&gguf, quantised), SP_OK);
    for (size_t i = 0; i < gguf.tensors.n_entries; i++) {
        sp_tensor tensor = gguf.tensors.entries[i].tensor;
        const size_t n_bytes = sp_dtype_bytes(tensor.dtype, sp_tensor_n_values(&tensor));
        const size_t n = sp_tensor_row_values(&tensor);
        float *all = read_all(&tensor), *row = calloc(n, sizeof *row);
        unsigned char *moved = malloc(n_bytes + 1);
        assert_true(row != NULL && moved != NULL);
        memcpy(moved + 1, tensor.data, n_bytes);
        tensor.data = moved + 1;
        for (size_t r = n_rows_of(&tensor); r-- > 0;) {
            sp_tensor_read_rows(&tensor, row, r, 1);
            assert_memory_equal(row, all + r * n, n * sizeof *row);
        }
        sp_tensor_read_rows(&tensor, NULL, 0, 0);
        free(moved);
        free(row);
        free(all);
    }
    sp_gguf_close(&gguf);
}

static void interleaved_heads_come_back_as_halves(void **state) {
    enum { HEADS = 3, HALF = 5, COLS = 2, ROWS = HEADS * 2 * HALF };
    float stored[ROWS][COLS], rows[ROWS][COLS];
    for (size_t h = 0; h < HEADS; h++) /* stored row (h, i, j) holds the row (h, j, i) */
        for (size_t i = 0; i < HALF; i++)
            for (size_t j = 0; j < 2; j++)
                for (size_t c = 0; c < COLS; c++)
                    stored[(h * HALF + i) * 2 + j][c] =
                        (float)(((h * 2 + j) * HALF + i) * COLS + c);
    const sp_tensor tensor = {.dtype = SP_F32,
                              .n_dims = 2,
                              .shape = {ROWS, COLS},
                              .data = stored,
                              .n_interleaved_heads = HEADS};
    sp_tensor_read_rows(&tensor, rows[0], 0, ROWS);
    for (size_t k = 0; k < ROWS * COLS; k++) assert_true((&rows[0][0])[k] == (float)k);
    sp_tensor_read_rows(&tensor, rows[0], 17, 1);
    assert_true(rows[0][0] == 17 * COLS);

    float stored_bias[ROWS], bias[ROWS];
    for (size_t r = 0; r < ROWS; r++) stored_bias[r] = stored[r][0];
    const sp_tensor vector = {.dtype = SP_F32,
                              .n_dims = 1,
                              .shape = {ROWS},
                              .data = stored_bias,
                              .n_interleaved_heads = HEADS};
    sp_tensor_read_rows(&vector, bias, 0, 1);
    for (size_t r = 0; r < ROWS; r++) assert_true(bias[r] == (float)(r * COLS));
}

static void a_matrix_worth_threads_is_read_as_its_rows_are(void **state) {
    enum { ROWS = 401, COLS = 257 };
    float *values = calloc(ROWS * COLS, sizeof *values), *read = calloc(ROWS * COLS, sizeof *read);
    uint16_t *stored = calloc(ROWS * COLS, sizeof *stored);
    assert_true(values != NULL && read != NULL && stored != NULL);
    fill_values(values, ROWS * COLS, 5);
    sp_f32_to_bf16(stored, values, ROWS * COLS);
    sp_bf16_to_f32(values, stored, ROWS * COLS);
    const sp_tensor tensor = {.dtype = SP_BF16, .n_dims = 2, .shape = {ROWS, COLS}, .data = stored};
    sp_tensor_read_rows(&tensor, read, 0, ROWS);
    assert_memory_equal(read, values, ROWS * COLS * sizeof *read);
    free(stored);
    free(read);
    free(values);
}

typedef void to_f32(float *restrict, const uint16_t *restrict, size_t);
typedef void from_f32(uint16_t *restrict, const float *restrict, size_t);

static uint16_t round_one(from_f32 *convert, double x) {
    const float value = (float)x;
    uint16_t half;
    convert(&half, &value, 1);
    return half;
}

/* Writes values to bytes that may lie anywhere. */
static void store(char *bytes, sp_dtype dtype, const float *values, size_t n) {
    from_f32 *const round = dtype == SP_F16 ? sp_f32_to_f16 : sp_f32_to_bf16;
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = round_one(round, (double)values[i]);
        if (dtype == SP_F32)
            memcpy(bytes + i * sizeof(float), &values[i], sizeof(float));
        else
            memcpy(bytes + i * sizeof half, &half, sizeof half);
    }
}

/* Around the tile's width; any rows of it, at any byte, equal the transpose of what is stored. */
static void transposed_matrix_is_read_as_its_transpose(void **state) {
    enum { MOST = 201 };
    static const size_t shapes[][2] = {{1, 1},   {1, 130}, {130, 1},   {3, 7},
                                       {64, 64}, {65, 63}, {127, 129}, {MOST, 500}};
    static const sp_dtype types[] = {SP_F32, SP_F16, SP_BF16};
    for (size_t c = 0; c < sizeof shapes / sizeof shapes[0]; c++)
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            const size_t n_out = shapes[c][0], n_in = shapes[c][1], n = n_out * n_in;
            float *values = calloc(n, sizeof *values), *read = calloc(n + 1, sizeof *read);
            char *stored = malloc(n * sizeof(float) + 1);
            assert_true(values != NULL && read != NULL && stored != NULL);
            for (size_t k = 0; k < n; k++) values[k] = (float)(k * 7919 % 251); /* exact in bf16 */
            store(stored + 1, types[t], values, n);
            const sp_tensor tensor = {.dtype = types[t],
                                      .n_dims = 2,
                                      .shape = {n_out, n_in},
                                      .data = stored + 1,
                                      .is_transposed = true};
            for (size_t begin = 0; begin < n_out; begin += 1 + n_out / 3) {
                const size_t n_rows = n_out - begin;
                read[n_rows * n_in] = -1;
                sp_tensor_read_rows(&tensor, read, begin, n_rows);
                for (size_t k = 0; k < n_rows * n_in; k++)
                    assert_true(read[k] == values[k % n_in * n_out + begin + k / n_in]);
                assert_true(read[n_rows * n_in] == -1);
            }
            sp_tensor_read_rows(&tensor, read, n_out - 1, 1);
            for (size_t i = 0; i < n_in; i++) assert_true(read[i] == values[i * n_out + n_out - 1]);
            sp_tensor_read_rows(&tensor, NULL, 0, 0);
            free(stored);
            free(read);
            free(values);
        }
}

/* A half-precision number by its definition, with `exponent_bits` 5 (f16) or 8 (bf16). */
static double value_of(unsigned half, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits;
    const int mantissa = (int)(half & ((1U << mantissa_bits) - 1));
    const int exponent = (int)(half >> mantissa_bits & ((1U << exponent_bits) - 1));
    const int most = (1 << exponent_bits) - 1, bias = most / 2;
    const double sign = half & 0x8000 ? -1 : 1;
    if (exponent == most) return mantissa == 0 ? sign * (double)INFINITY : (double)NAN;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

static void check_values(to_f32 *convert, int exponent_bits) {
    for (unsigned half = 0; half < 1U << 16; half++) {
        const uint16_t bits = (uint16_t)half;
        const double wanted = value_of(half, exponent_bits);
        float value;
        convert(&value, &bits, 1);
        if (isnan(wanted) ? !isnan(value)
                          : (double)value != wanted || (signbit(value) != 0) != (half >= 0x8000))
            fail_msg("%04x is %g, not %g", half, (double)value, wanted);
    }
}

/* Around each point halfway between neighbours; beyond the largest number lies infinity. */
static void check_rounding(from_f32 *convert, int exponent_bits) {
    const unsigned infinity = (1U << 15) - (1U << (15 - exponent_bits));
    for (unsigned half = 0; half < infinity; half++) {
        const double below = value_of(half, exponent_bits);
        const double step = half + 1 < infinity ? value_of(half + 1, exponent_bits) - below
                                                : below - value_of(half - 1, exponent_bits);
        const double middle = below + step / 2;
        const unsigned even = half % 2 == 0 ? half : half + 1;
        assert_int_equal(round_one(convert, below), half);
        assert_int_equal(round_one(convert, middle), even);
        assert_int_equal(round_one(convert, -middle), even | 0x8000);
        assert_int_equal(round_one(convert, (double)nextafterf((float)middle, 0)), half);
        assert_int_equal(round_one(convert, (double)nextafterf((float)middle, INFINITY)), half + 1);
    }
    assert_int_equal(round_one(convert, (double)INFINITY), infinity);
    assert_int_equal(round_one(convert, (double)-INFINITY), infinity | 0x8000);
    assert_true((round_one(convert, (double)NAN) & 0x7fff) > infinity);
}

static void every_f16_is_its_value_and_f32_rounds_to_the_nearest(void **state) {
    check_values(sp_f16_to_f32, 5);
    check_rounding(sp_f32_to_f16, 5);
}

static void every_bf16_is_its_value_and_f32_rounds_to_the_nearest(void **state) {
    check_values(sp_bf16_to_f32, 8);
    check_rounding(sp_f32_to_bf16, 8);
}

static void nan_with_all_mantissa_bits_stays_nan(void **state) {
    const uint32_t bits = 0x7fffffff;
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    uint16_t half[2];
    sp_f32_to_bf16(&half[0], &nan, 1);
    sp_f32_to_f16(&half[1], &nan, 1);
    assert_true((half[0] & 0x7fff) > 0x7f80 && (half[1] & 0x7fff) > 0x7c00);
    sp_f32_to_f16(NULL, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_equals_ggufs_own_dequantisation_bit_for_bit),
        cmocka_unit_test(rows_read_one_by_one_and_from_any_byte_are_the_same),
        cmocka_unit_test(interleaved_heads_come_back_as_halves),
        cmocka_unit_test(a_matrix_worth_threads_is_read_as_its_rows_are),
        cmocka_unit_test(transposed_matrix_is_read_as_its_transpose),
        cmocka_unit_test(every_f16_is_its_value_and_f32_rounds_to_the_nearest),
        cmocka_unit_test(every_bf16_is_its_value_and_f32_rounds_to_the_nearest),
        cmocka_unit_test(nan_with_all_mantissa_bits_stays_nan)};
    return cmocka_run_group_tests_name("dequantize", tests, NULL, NULL);
}
