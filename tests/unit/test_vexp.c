#include "tests/check.h"

#include "tensor/vexp.h"

static void exp_is_right_to_two_units_in_the_last_place(void **state) {
    const double two_units = 2 * 1.2e-7; /* relative; a unit is at most 2^-23 */
    for (double x = -87.2; x < 88.2; x += 1.0 / 1024) {
        const float rounded = (float)x;
        const double expected = exp((double)rounded);
        const double error = fabs((double)sp_vexp(rounded) - expected) / expected;
        if (!(error <= two_units)) fail_msg("exp(%g) is wrong by %g", (double)rounded, error);
    }
    assert_true(sp_vexp(0) == 1);
}

static void exp_has_its_limits(void **state) {
    assert_true(sp_vexp(-88) == 0);
    assert_true(sp_vexp(-INFINITY) == 0);
    assert_true(sp_vexp(100) > 2e38F);
    assert_true(sp_vexp(INFINITY) > 2e38F);
    assert_true(isnan(sp_vexp(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_right_to_two_units_in_the_last_place),
        cmocka_unit_test(exp_has_its_limits),
    };
    return cmocka_run_group_tests_name("vexp", tests, NULL, NULL);
}
