#include "tests/check.h"

#include "base/size.h"

static void product_or_sum_that_fits_is_exact(void **state) {
    size_t result = 0;
    assert_true(sp_size_mul(&result, (size_t)1 << 32, ((size_t)1 << 32) - 1));
    assert_true(result == SIZE_MAX - 0xffffffffu); /* 2^64 - 2^32 */
    assert_true(sp_size_mul(&result, 0, SIZE_MAX) && result == 0);
    assert_true(sp_size_add(&result, SIZE_MAX - 7, 7) && result == SIZE_MAX);
}

static void product_or_sum_that_wraps_is_refused(void **state) {
    size_t result = 0;
    assert_false(sp_size_mul(&result, (size_t)1 << 32, (size_t)1 << 32)); /* wraps to 0 */
    assert_false(sp_size_mul(&result, (size_t)1 << 63, 3)); /* wraps to a value that looks fine */
    assert_false(sp_size_add(&result, SIZE_MAX, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(product_or_sum_that_fits_is_exact),
                                       cmocka_unit_test(product_or_sum_that_wraps_is_refused)};
    return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
