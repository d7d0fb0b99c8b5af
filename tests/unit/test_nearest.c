#include "tests/check.h"

#include "base/nearest.h"

static void distance_counts_single_edits(void **state) {
    static const struct {
        const char *a, *b;
        size_t distance;
    } known[] = {{"", "", 0},
                 {"", "abc", 3},
                 {"abc", "abc", 0},
                 {"abc", "abd", 1},
                 {"abc", "bc", 1},
                 {"kitten", "sitting", 3},
                 {"flaw", "lawn", 2},
                 {"train.lrr", "train.lr", 1},
                 {"intention", "execution", 5}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_int_equal(sp_edit_distance(known[i].a, known[i].b), known[i].distance);
        assert_int_equal(sp_edit_distance(known[i].b, known[i].a), known[i].distance);
    }
}

static void long_words_are_cut_and_not_overrun(void **state) {
    char a[1000], b[1000];
    memset(a, 'a', sizeof a - 1);
    memset(b, 'b', sizeof b - 1);
    a[sizeof a - 1] = b[sizeof b - 1] = '\0';
    assert_int_equal(sp_edit_distance(a, b), 255);
    assert_int_equal(sp_edit_distance(a, ""), 255);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(distance_counts_single_edits),
                                       cmocka_unit_test(long_words_are_cut_and_not_overrun)};
    return cmocka_run_group_tests_name("nearest", tests, NULL, NULL);
}
