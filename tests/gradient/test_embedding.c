#include "tests/check.h"

#include "tensor/embedding.h"
#include "tests/values.h"

enum { N_IDS = 5, MAX_D = 131, N_ROWS = 9 };
static const int32_t ids[N_ROWS] = {4, 0, -1, 2, 4, 4, -7, 0, 1};
static const size_t widths[] = {1, 8, 63, MAX_D};
static float table[N_IDS * MAX_D], out[N_ROWS * MAX_D], dy[N_ROWS * MAX_D], dtable[N_IDS * MAX_D];

static void check_rows(size_t d) {
    for (size_t r = 0; r < N_ROWS; r++)
        for (size_t i = 0; i < d; i++) {
            const float expected = ids[r] < 0 ? 9 : table[(size_t)ids[r] * d + i];
            assert_true(out[r * d + i] == expected);
        }
}

static void rows_are_gathered_and_negative_ids_skipped(void **state) {
    fill_values(table, N_IDS * MAX_D, 1);
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        const size_t d = widths[w];
        const sp_tensor tensor = {.dtype = SP_F32, .n_dims = 2, .shape = {N_IDS, d}, .data = table};
        for (size_t k = 0; k < N_ROWS * d; k++) out[k] = 9;
        sp_embedding_read(out, &tensor, ids, N_ROWS);
        check_rows(d);

        sp_linear *head = NULL;
        assert_int_equal(sp_linear_wrap(&head, table, NULL, N_IDS, d), SP_OK);
        for (size_t k = 0; k < N_ROWS * d; k++) out[k] = 9;
        sp_embedding_gather(out, head, ids, N_ROWS);
        check_rows(d);
        sp_linear_destroy(head);
    }
}

/* The gradient of sum dy * out is, for each table value, the sum of dy where it went. */
static void gradients_are_added_to_the_rows_they_came_from(void **state) {
    fill_values(dy, N_ROWS * MAX_D, 2);
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        const size_t d = widths[w];
        for (size_t k = 0; k < N_IDS * d; k++) dtable[k] = 1;
        sp_embedding_scatter_add(dtable, dy, ids, N_ROWS, d);
        sp_embedding_scatter_add(dtable, NULL, NULL, 0, d);
        for (size_t id = 0; id < N_IDS; id++)
            for (size_t i = 0; i < d; i++) {
                double sum = 1;
                for (size_t r = 0; r < N_ROWS; r++)
                    if (ids[r] == (int32_t)id) sum += (double)dy[r * d + i];
                assert_close(dtable[id * d + i], sum, 1e-6);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_gathered_and_negative_ids_skipped),
        cmocka_unit_test(gradients_are_added_to_the_rows_they_came_from),
    };
    return cmocka_run_group_tests_name("embedding", tests, NULL, NULL);
}
