#include "tests/check.h"

#include "tensor/argmax.h"
#include "tests/values.h"

static size_t by_definition(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void finds_the_first_of_the_greatest(void **state) {
    enum { MOST = 3000 };
    float x[MOST];
    const size_t sizes[] = {1, 2, 7, 16, 1023, 1024, 1025, 2048, MOST};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (uint32_t seed = 0; seed < 20; seed++) {
            fill_values(x, sizes[s], seed);
            for (size_t i = 0; i < sizes[s]; i++)
                x[i] = seed % 2 ? x[i] - 5 : roundf(8 * x[i]); /* all negative; many equals */
            assert_int_equal(sp_argmax(x, sizes[s]), by_definition(x, sizes[s]));
        }
}

static void a_nan_is_never_the_greatest(void **state) {
    const float some[] = {NAN, -3, NAN, -2, NAN}, none[] = {NAN, NAN},
                low[] = {-INFINITY, -INFINITY};
    assert_int_equal(sp_argmax(some, 5), 3);
    assert_int_equal(sp_argmax(none, 2), 0);
    assert_int_equal(sp_argmax(low, 2), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_first_of_the_greatest),
        cmocka_unit_test(a_nan_is_never_the_greatest),
    };
    return cmocka_run_group_tests_name("argmax", tests, NULL, NULL);
}
