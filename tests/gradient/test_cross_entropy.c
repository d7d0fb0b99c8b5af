#include "tests/check.h"

#include "tensor/cross_entropy.h"
#include "tests/values.h"

#include <stdlib.h>

enum { MAX_ROWS = 6, MAX_VOCABULARY = 300, MAX_D = 11 };

/* {n_rows, vocabulary, d}: no rows, one word, tails, more than one piece of a sum. */
static const size_t shapes[][3] = {{0, 3, 2}, {1, 1, 1}, {2, 7, 5}, {6, 300, 11}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

typedef struct fixture {
    float x[MAX_ROWS * MAX_D], weight[MAX_VOCABULARY * MAX_D], bias[MAX_VOCABULARY];
    float scale[MAX_ROWS];
    int32_t targets[MAX_ROWS];
} fixture;
static fixture f;

static void fill_fixture(const size_t *n) {
    fill_values(f.x, MAX_ROWS * MAX_D, 1);
    fill_values(f.weight, MAX_VOCABULARY * MAX_D, 2);
    fill_values(f.bias, MAX_VOCABULARY, 3);
    fill_values(f.scale, MAX_ROWS, 4);
    for (size_t i = 0; i < MAX_ROWS * MAX_D; i++) f.x[i] *= 4;
    for (size_t r = 0; r < n[0]; r++) f.targets[r] = (int32_t)((r * 131 + n[1] - 1) % n[1]);
}

static double logit(const size_t *n, size_t r, size_t j) {
    double sum = (double)f.bias[j];
    for (size_t i = 0; i < n[2]; i++)
        sum += (double)f.x[r * n[2] + i] * (double)f.weight[j * n[2] + i];
    return sum;
}

static double row_nll(const size_t *n, size_t r) {
    double sum = 0;
    for (size_t j = 0; j < n[1]; j++) sum += exp(logit(n, r, j));
    return log(sum) - logit(n, r, (size_t)f.targets[r]);
}

static double loss(const size_t *n) {
    double sum = 0;
    for (size_t r = 0; r < n[0]; r++) sum += (double)f.scale[r] * row_nll(n, r);
    return sum;
}

/* dL/dvalue by central difference over the width that f32 took. */
static double slope(const size_t *n, float *value) {
    const float middle = *value, low = middle - 1e-3F, high = middle + 1e-3F;
    *value = high;
    const double above = loss(n);
    *value = low;
    const double below = loss(n);
    *value = middle;
    return (above - below) / ((double)high - (double)low);
}

static void *allocate_scratch(const sp_linear *head, size_t n_rows) {
    return aligned_alloc(64, (sp_cross_entropy_scratch_bytes(head, n_rows) + 127) & ~(size_t)63);
}

static void losses_and_gradients_match_f64_and_differences(void **state) {
    static float dx[MAX_ROWS * MAX_D], dweight[MAX_VOCABULARY * MAX_D], dbias[MAX_VOCABULARY];
    const double rounding = 2e-6, truncation = 1e-4; /* a few steps of f32; 1e-3 squared times 64 */
    for (size_t s = 0; s < N_SHAPES; s++) {
        const size_t *n = shapes[s];
        fill_fixture(n);
        sp_linear *head = NULL;
        assert_int_equal(sp_linear_wrap(&head, f.weight, f.bias, n[1], n[2]), SP_OK);
        void *scratch = allocate_scratch(head, n[0]);
        double nll[MAX_ROWS], forward_nll[MAX_ROWS];
        for (size_t k = 0; k < n[1] * n[2]; k++) dweight[k] = 1; /* must be added to */
        for (size_t k = 0; k < n[1]; k++) dbias[k] = 2;
        for (size_t k = 0; k < n[0] * n[2]; k++) dx[k] = NAN; /* must not be read */
        sp_cross_entropy_forward(head, forward_nll, NULL, f.x, f.targets, n[0], scratch);
        sp_cross_entropy_backward(head, nll, dx, dweight, dbias, f.x, f.targets, f.scale, n[0],
                                  scratch);
        for (size_t r = 0; r < n[0]; r++) {
            assert_close(nll[r], row_nll(n, r), rounding);
            assert_true(forward_nll[r] == nll[r]);
        }
        for (size_t k = 0; k < n[0] * n[2]; k++) assert_close(dx[k], slope(n, &f.x[k]), truncation);
        for (size_t k = 0; k < n[1]; k++)
            assert_close(dbias[k], 2 + slope(n, &f.bias[k]), truncation);
        for (size_t k = 0; k < n[1] * n[2]; k += 1 + k / 7) /* some: each costs two f64 losses */
            assert_close(dweight[k], 1 + slope(n, &f.weight[k]), truncation);
        sp_cross_entropy_backward(head, nll, dx, NULL, NULL, f.x, f.targets, f.scale, n[0],
                                  scratch);
        free(scratch);
        sp_linear_destroy(head);
    }
}

/* A vocabulary so large that a tile holds two rows only. */
static void rows_beyond_a_tile_are_treated_alike(void **state) {
    enum { VOCABULARY = 5000000, ROWS = 5 };
    float *weight = calloc(VOCABULARY, sizeof *weight);
    assert_non_null(weight);
    weight[VOCABULARY - 1] = 1;
    const float x[ROWS] = {0, 1, 15, -3, 20}, scale[ROWS] = {1, 1, 1, 2, 1};
    const int32_t targets[ROWS] = {0, 5, VOCABULARY - 1, VOCABULARY - 1, VOCABULARY - 1};
    sp_linear *head = NULL;
    assert_int_equal(sp_linear_wrap(&head, weight, NULL, VOCABULARY, 1), SP_OK);
    assert_true(sp_cross_entropy_scratch_bytes(head, ROWS) < 80 << 20);
    void *scratch = allocate_scratch(head, ROWS);
    double nll[ROWS];
    float dx[ROWS];
    sp_cross_entropy_backward(head, nll, dx, NULL, NULL, x, targets, scale, ROWS, scratch);
    for (size_t r = 0; r < ROWS; r++) {
        const double e = exp((double)x[r]), sum = VOCABULARY - 1 + e;
        const double hit = targets[r] == VOCABULARY - 1;
        assert_close(nll[r], log(sum) - hit * (double)x[r], 1e-6);
        assert_close(dx[r], (double)scale[r] * (e / sum - hit), 1e-5);
    }
    free(scratch);
    sp_linear_destroy(head);
    free(weight);
}

/* Those of Llama-3-8B, with three matrices of its 256 rows beside the tile. */
static void a_large_head_stays_within_64_mib(void **state) {
    enum { VOCABULARY = 128256, D = 4096, ROWS = 256 };
    sp_linear *head = NULL;
    assert_int_equal(sp_linear_outline(&head, VOCABULARY, D, SP_PRECISION_F32), SP_OK);
    const size_t matrices = 3 * ROWS * D * sizeof(float);
    assert_true(sp_cross_entropy_scratch_bytes(head, ROWS) + matrices <= 64 << 20);
    sp_linear_destroy(head);
}

static void greatest_logit_of_the_least_id_is_correct(void **state) {
    const float weight[] = {1, 3, 2, 3, -1}, x[] = {1, 1, 1, -1, -1};
    const int32_t targets[] = {1, 3, 2, 4, 0};
    const uint8_t expected[] = {1, 0, 0, 1, 0};
    sp_linear *head = NULL;
    assert_int_equal(sp_linear_wrap(&head, weight, NULL, 5, 1), SP_OK);
    void *scratch = allocate_scratch(head, 5);
    double nll[5];
    uint8_t is_correct[5];
    sp_cross_entropy_forward(head, nll, is_correct, x, targets, 5, scratch);
    assert_memory_equal(is_correct, expected, sizeof expected);
    free(scratch);
    sp_linear_destroy(head);
}

static void what_is_not_finite_shows_in_the_loss(void **state) {
    const float weight[] = {1, 2, 3}, x[] = {NAN};
    const int32_t targets[] = {1};
    sp_linear *head = NULL;
    assert_int_equal(sp_linear_wrap(&head, weight, NULL, 3, 1), SP_OK);
    void *scratch = allocate_scratch(head, 1);
    double nll = 0;
    sp_cross_entropy_forward(head, &nll, NULL, x, targets, 1, scratch);
    assert_true(isnan(nll));
    free(scratch);
    sp_linear_destroy(head);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_match_f64_and_differences),
        cmocka_unit_test(rows_beyond_a_tile_are_treated_alike),
        cmocka_unit_test(a_large_head_stays_within_64_mib),
        cmocka_unit_test(greatest_logit_of_the_least_id_is_correct),
        cmocka_unit_test(what_is_not_finite_shows_in_the_loss),
    };
    return cmocka_run_group_tests_name("cross_entropy", tests, NULL, NULL);
}
