#include "tests/check.h"
#include "tests/values.h"

#include "run/params_digest.h"

#include <stdio.h>
#include <stdlib.h>

/* Two tensors of rows, and a vector, whose rows are its values. */
static const struct {
    const char *name;
    size_t n_rows, row_values;
} tensors[] = {{"converter.in.weight", 7, 5}, {"memory_tokens", 64, 33}, {"norm.weight", 9, 1}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], MOST_VALUES = 64 * 33 };

typedef struct rows_given {
    size_t tensor, row_begin, n_rows;
} rows_given;

static sp_tensor_hash hash_of(const rows_given *given) {
    float values[MOST_VALUES];
    const size_t row_values = tensors[given->tensor].row_values;
    sp_tensor_hash hash = {0};
    snprintf(hash.name, sizeof hash.name, "%s", tensors[given->tensor].name);
    fill_values(values, tensors[given->tensor].n_rows * row_values, (uint32_t)given->tensor + 1);
    sp_tensor_hash_add(&hash, values + given->row_begin * row_values, given->row_begin,
                       given->n_rows, row_values);
    return hash;
}

/* The digest of what ranks give in that order. */
static const char *digest_of(const rows_given *given, size_t n) {
    static char digest[SP_PARAMS_DIGEST_SIZE];
    sp_tensor_hash hashes[32];
    assert_true(n <= 32);
    for (size_t i = 0; i < n; i++) hashes[i] = hash_of(&given[i]);
    sp_params_digest(digest, hashes, n);
    assert_int_equal(strlen(digest), 32);
    return digest;
}

static const char *digest_of_all(void) {
    static char whole[SP_PARAMS_DIGEST_SIZE];
    const rows_given all[] = {{0, 0, 7}, {1, 0, 64}, {2, 0, 9}};
    return strcpy(whole, digest_of(all, 3));
}

static void any_cut_into_rows_gives_the_same_digest(void **state) {
    const rows_given other_order[] = {{2, 0, 9}, {0, 0, 7}, {1, 0, 64}};
    assert_string_equal(digest_of(other_order, 3), digest_of_all());
    for (size_t n_ranks = 2; n_ranks <= 10; n_ranks++) {
        rows_given given[30];
        size_t n = 0;
        for (size_t rank = n_ranks; rank-- > 0;)
            for (size_t t = 0; t < N_TENSORS; t++) {
                const size_t begin = tensors[t].n_rows * rank / n_ranks;
                const size_t end = tensors[t].n_rows * (rank + 1) / n_ranks;
                given[n++] = (rows_given){t, begin, end - begin};
            }
        assert_string_equal(digest_of(given, n), digest_of_all());
    }
}

static void missing_or_double_rows_give_another(void **state) {
    const rows_given less[] = {{0, 0, 7}, {1, 0, 63}, {2, 0, 9}};
    const rows_given twice[] = {{0, 0, 7}, {1, 0, 64}, {2, 0, 9}, {1, 3, 1}};
    const rows_given none[] = {{0, 0, 7}, {1, 0, 64}};
    assert_string_not_equal(digest_of(less, 3), digest_of_all());
    assert_string_not_equal(digest_of(twice, 4), digest_of_all());
    assert_string_not_equal(digest_of(none, 2), digest_of_all());
}

/* The digest of one tensor [4, 3] of these values and name. */
static const char *digest_values(const float *values, const char *name) {
    static char digests[2][SP_PARAMS_DIGEST_SIZE];
    static size_t next;
    char *digest = digests[next++ % 2];
    sp_tensor_hash hash = {0};
    snprintf(hash.name, sizeof hash.name, "%s", name);
    sp_tensor_hash_add(&hash, values, 0, 4, 3);
    sp_params_digest(digest, &hash, 1);
    return digest;
}

static void other_values_rows_and_names_give_another(void **state) {
    float values[12], other[12];
    fill_values(values, 12, 1);
    assert_string_equal(digest_values(values, "a"), digest_values(values, "a"));
    assert_string_not_equal(digest_values(values, "a"), digest_values(values, "b"));
    for (size_t i = 0; i < 12; i++) { /* the last bit of any value */
        memcpy(other, values, sizeof other);
        other[i] = nextafterf(other[i], 2);
        assert_string_not_equal(digest_values(values, "a"), digest_values(other, "a"));
    }
    memcpy(other, values + 3, 3 * sizeof *values); /* two rows in each other's place */
    memcpy(other + 3, values, 3 * sizeof *values);
    memcpy(other + 6, values + 6, 6 * sizeof *values);
    assert_string_not_equal(digest_values(values, "a"), digest_values(other, "a"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_cut_into_rows_gives_the_same_digest),
                                       cmocka_unit_test(missing_or_double_rows_give_another),
                                       cmocka_unit_test(other_values_rows_and_names_give_another)};
    return cmocka_run_group_tests_name("params_digest", tests, NULL, NULL);
}
