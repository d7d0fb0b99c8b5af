#include "tests/check.h"

#include "run/blocks.h"

#include <stdlib.h>

#define MB ((uint64_t)1 << 20)

static void blocks_are_few_but_not_small(void **state) {
    assert_int_equal(sp_block_bytes(0), MB);
    assert_int_equal(sp_block_bytes(3 * MB), MB);
    for (uint64_t n_bytes = 1000; n_bytes < UINT64_MAX / 3; n_bytes = n_bytes * 3 / 2) {
        const uint64_t block = sp_block_bytes(n_bytes);
        assert_true(block >= MB && n_bytes / block <= 4096);
        if (n_bytes >= 256 * MB) assert_true(n_bytes / block >= 256);
        if (block > 64 * MB) assert_true(n_bytes / block >= 4095);
    }
}

/* The sizes that the header gives, each in its range. */
static void size_of_a_block_follows_the_corpus(void **state) {
    const uint64_t gb = 1024 * MB;
    for (uint64_t n_bytes = gb / 4; n_bytes <= 16 * gb; n_bytes += gb / 4)
        assert_int_equal(sp_block_bytes(n_bytes), n_bytes / 256);
    for (uint64_t n_bytes = 16 * gb; n_bytes <= 256 * gb; n_bytes += 4 * gb)
        assert_int_equal(sp_block_bytes(n_bytes), 64 * MB);
    for (uint64_t n_bytes = 256 * gb; n_bytes <= 4096 * gb; n_bytes += 64 * gb)
        assert_int_equal(sp_block_bytes(n_bytes), n_bytes / 4096);
}

static uint64_t bytes_of(const sp_unit *units, size_t begin, size_t end) {
    uint64_t sum = 0;
    for (size_t i = begin; i < end; i++) sum += units[i].range.n_bytes;
    return sum;
}

enum { MOST_UNITS = 200 };

/* Every unit is in one block, in order, and no block would be nearer to its size with one more unit or
   without its last. */
static void assert_cut(const sp_unit *units, size_t n_units, uint64_t block_bytes) {
    size_t begin[MOST_UNITS + 1];
    const size_t n = sp_blocks_cut(begin, units, n_units, block_bytes);
    if (n_units == 0) assert_int_equal(n, 0);
    if (n_units > 0) assert_int_equal(begin[0], 0);
    assert_int_equal(begin[n], n_units);
    for (size_t b = 0; b < n; b++) {
        assert_true(begin[b] < begin[b + 1]);
        const uint64_t size = bytes_of(units, begin[b], begin[b + 1]);
        const uint64_t last = units[begin[b + 1] - 1].range.n_bytes;
        if (size > last) assert_true(size <= block_bytes + last / 2 + 1);
        if (b + 1 == n) continue;
        const uint64_t next = units[begin[b + 1]].range.n_bytes;
        assert_true(size + next / 2 >= block_bytes);
    }
}

static void blocks_are_nearly_equal(void **state) {
    sp_unit units[MOST_UNITS] = {0};
    uint32_t seed = 3;
    for (size_t trial = 0; trial < 2000; trial++) {
        const size_t n_units = trial % MOST_UNITS;
        for (size_t i = 0; i < n_units; i++) {
            seed = seed * 1664525U + 1013904223U;
            units[i].range.n_bytes = trial % 3 == 0 ? 100 : (seed >> 16) % (trial % 2 ? 10 : 3000);
        }
        assert_cut(units, n_units, 1 + trial);
    }
}

static void unit_larger_than_a_block_is_alone(void **state) {
    const sp_unit units[] = {{0, {.n_bytes = 30}}, {0, {.n_bytes = 9000}}, {1, {.n_bytes = 30}}};
    size_t begin[4];
    assert_int_equal(sp_blocks_cut(begin, units, 3, 100), 3);
    assert_true(begin[1] == 1 && begin[2] == 2 && begin[3] == 3);
}

static void no_block_is_of_nothing(void **state) {
    const sp_unit units[] = {{0, {0}}, {0, {.n_bytes = 9000}}, {1, {0}}, {2, {.n_bytes = 9000}}};
    const sp_unit empty[] = {{0, {0}}, {0, {0}}};
    size_t begin[5];
    assert_int_equal(sp_blocks_cut(begin, units, 4, 100), 2);
    assert_true(bytes_of(units, begin[0], begin[1]) == 9000);
    assert_true(bytes_of(units, begin[1], begin[2]) == 9000);
    assert_int_equal(sp_blocks_cut(begin, empty, 2, 100), 1);
}

/* As footers may claim. */
static void sum_beyond_all_numbers_ends_a_block(void **state) {
    const uint64_t most = UINT64_MAX - 1;
    const sp_unit units[] = {{0, {.n_bytes = 10}}, {0, {.n_bytes = most}}, {1, {.n_bytes = most}}};
    size_t begin[4];
    assert_int_equal(sp_blocks_cut(begin, units, 3, most - 1), 2);
    assert_int_equal(begin[1], 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_are_few_but_not_small),
                                       cmocka_unit_test(size_of_a_block_follows_the_corpus),
                                       cmocka_unit_test(blocks_are_nearly_equal),
                                       cmocka_unit_test(unit_larger_than_a_block_is_alone),
                                       cmocka_unit_test(no_block_is_of_nothing),
                                       cmocka_unit_test(sum_beyond_all_numbers_ends_a_block)};
    return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
