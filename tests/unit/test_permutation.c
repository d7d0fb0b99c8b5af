#include "tests/check.h"

#include "base/permutation.h"

#include <stdbool.h>
#include <stdlib.h>

static void assert_is_permutation(uint64_t n, uint64_t key) {
    bool *is_hit = calloc(n, sizeof *is_hit);
    assert_non_null(is_hit);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t image = sp_permute(i, n, key);
        assert_true(image < n);
        assert_false(is_hit[image]);
        is_hit[image] = true;
    }
    free(is_hit);
}

static void every_place_is_hit_once_for_any_n(void **state) {
    for (uint64_t n = 1; n <= 300; n++) assert_is_permutation(n, n * 17);
    static const uint64_t around_powers[] = {1023, 1024, 1025, 4095, 4096, 4097, 50021};
    for (size_t i = 0; i < sizeof around_powers / sizeof around_powers[0]; i++)
        assert_is_permutation(around_powers[i], i);
}

static void huge_domains_stay_in_range_and_do_not_collide(void **state) {
    static const uint64_t sizes[] = {(UINT64_C(1) << 40) - 7, (UINT64_C(1) << 63) + 1, UINT64_MAX};
    enum { N_TRIED = 64 };
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t images[N_TRIED];
        for (uint64_t i = 0; i < N_TRIED; i++) {
            images[i] = sp_permute(sizes[s] - 1 - i, sizes[s], 3);
            assert_true(images[i] < sizes[s]);
            for (uint64_t j = 0; j < i; j++) assert_true(images[j] != images[i]);
        }
    }
}

/* Where the first things go over many keys: each place as often as the others. */
static void keys_spread_each_thing_evenly(void **state) {
    enum { N_THINGS = 10, N_KEYS = 20000 };
    const double expected = (double)N_KEYS / N_THINGS;
    const double chi_square_limit = 33.7; /* 9 degrees of freedom, 1e-4 */
    for (uint64_t thing = 0; thing < N_THINGS; thing++) {
        size_t n_hits[N_THINGS] = {0};
        for (uint64_t key = 0; key < N_KEYS; key++) n_hits[sp_permute(thing, N_THINGS, key)]++;
        double chi_square = 0;
        for (size_t i = 0; i < N_THINGS; i++)
            chi_square += pow((double)n_hits[i] - expected, 2) / expected;
        assert_true(chi_square < chi_square_limit);
    }
}

/* A random permutation maps neighbours to neighbours about twice in all, and has about one fixed
   point. */
static void neighbours_do_not_stay_together(void **state) {
    enum { N_THINGS = 100000 };
    size_t n_neighbours = 0, n_fixed = 0;
    for (uint64_t i = 0; i + 1 < N_THINGS; i++) {
        const uint64_t a = sp_permute(i, N_THINGS, 11), b = sp_permute(i + 1, N_THINGS, 11);
        n_neighbours += a + 1 == b || b + 1 == a;
        n_fixed += a == i;
    }
    assert_true(n_neighbours < 15 && n_fixed < 12);
}

static void keys_give_different_orders(void **state) {
    enum { N_THINGS = 1000 };
    size_t n_same = 0;
    for (uint64_t i = 0; i < N_THINGS; i++)
        n_same += sp_permute(i, N_THINGS, 1) == sp_permute(i, N_THINGS, UINT64_C(1) << 32 | 1);
    assert_true(n_same < 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_place_is_hit_once_for_any_n),
        cmocka_unit_test(huge_domains_stay_in_range_and_do_not_collide),
        cmocka_unit_test(keys_spread_each_thing_evenly),
        cmocka_unit_test(neighbours_do_not_stay_together),
        cmocka_unit_test(keys_give_different_orders),
    };
    return cmocka_run_group_tests_name("permutation", tests, NULL, NULL);
}
