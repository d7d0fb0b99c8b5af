/* ROUGE-L as rouge_score gives it; the fixture is made by tools/make_text_fixtures.py. */
#include "tests/check.h"

#include "base/json.h"
#include "text/rouge.h"

#include <stdlib.h>

static const double tolerance = 1e-12; /* the same operations in f64 */

typedef sp_status rouge(double *score, const char *hypothesis, size_t hypothesis_len,
                        const char *reference, size_t reference_len);

static void check_fixture(rouge *function, const char *member) {
    json_t *fixture = NULL;
    assert_int_equal(sp_json_load_file(&fixture, "tests/fixtures/text/metrics.json"), SP_OK);
    const json_t *pair;
    size_t i;
    json_array_foreach(json_object_get(fixture, "pairs"), i, pair) {
        const char *hypothesis = json_string_value(json_object_get(pair, "hypothesis"));
        const char *reference = json_string_value(json_object_get(pair, "reference"));
        double score = -1;
        assert_int_equal(
            function(&score, hypothesis, strlen(hypothesis), reference, strlen(reference)), SP_OK);
        assert_close(score, json_number_value(json_object_get(pair, member)), tolerance);
    }
    assert_true(i > 30);
    json_decref(fixture);
}

static void score_is_that_of_the_reference(void **state) { check_fixture(sp_rouge_l, "rouge_l"); }

static void stemmed_score_is_that_of_the_reference(void **state) {
    check_fixture(sp_rouge_l_stem, "rouge_l_stem");
}

static double score_of(const char *hypothesis, const char *reference) {
    double score = -1;
    assert_int_equal(
        sp_rouge_l(&score, hypothesis, strlen(hypothesis), reference, strlen(reference)), SP_OK);
    return score;
}

static void order_matters_but_gaps_do_not(void **state) {
    assert_close(score_of("a b c d", "d c b a"), 0.25, tolerance);
    assert_close(score_of("a x b x c", "a b c"), 2 * 0.6 / 1.6, tolerance);
}

static void swapping_the_texts_changes_nothing(void **state) {
    assert_close(score_of("one two three", "one three"), score_of("one three", "one two three"),
                 tolerance);
}

static void a_text_without_words_scores_0(void **state) {
    assert_close(score_of("", ""), 0, 0);
    assert_close(score_of("...", "a"), 0, 0);
    assert_close(score_of("a", "\xFF\x80"), 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(score_is_that_of_the_reference),
                                       cmocka_unit_test(stemmed_score_is_that_of_the_reference),
                                       cmocka_unit_test(order_matters_but_gaps_do_not),
                                       cmocka_unit_test(swapping_the_texts_changes_nothing),
                                       cmocka_unit_test(a_text_without_words_scores_0)};
    return cmocka_run_group_tests_name("rouge", tests, NULL, NULL);
}
