/* BLEU as sacrebleu and nltk give it; the fixture is made by tools/make_text_fixtures.py. */
#include "tests/check.h"

#include "base/json.h"
#include "text/bleu.h"

static const double tolerance = 1e-9; /* both sides in f64, sums in another order */

static json_t *fixture;

static int load_fixture(void **state) {
    return sp_json_load_file(&fixture, "tests/fixtures/text/metrics.json") == SP_OK ? 0 : -1;
}

static int free_fixture(void **state) {
    json_decref(fixture);
    return 0;
}

static const char *text_of(const json_t *pair, const char *member) {
    return json_string_value(json_object_get(pair, member));
}

static void add_pair(sp_bleu *bleu, const char *hypothesis, const char *reference) {
    assert_int_equal(
        sp_bleu_add(bleu, hypothesis, strlen(hypothesis), reference, strlen(reference)), SP_OK);
}

static void corpus_score_is_sacrebleus(void **state) {
    const json_t *pairs = json_object_get(fixture, "pairs"), *corpus, *index;
    size_t i, k;
    json_array_foreach(json_object_get(fixture, "corpora"), i, corpus) {
        sp_bleu bleu = {0};
        json_array_foreach(json_object_get(corpus, "pairs"), k, index) {
            const json_t *pair = json_array_get(pairs, (size_t)json_integer_value(index));
            add_pair(&bleu, text_of(pair, "hypothesis"), text_of(pair, "reference"));
        }
        assert_close(sp_bleu_score(&bleu), json_number_value(json_object_get(corpus, "bleu")),
                     tolerance);
    }
    assert_true(i > 30);
}

static void sentence_score_is_nltks(void **state) {
    const json_t *pair;
    size_t i;
    json_array_foreach(json_object_get(fixture, "pairs"), i, pair) {
        const char *hypothesis = text_of(pair, "hypothesis");
        const char *reference = text_of(pair, "reference");
        double score = -1;
        assert_int_equal(
            sp_bleu_sentence(&score, hypothesis, strlen(hypothesis), reference, strlen(reference)),
            SP_OK);
        assert_close(score, json_number_value(json_object_get(pair, "bleu_sentence")), tolerance);
    }
    assert_true(i > 30);
}

static void counts_of_parts_add_up_to_the_whole(void **state) {
    sp_bleu whole = {0}, a = {0}, b = {0};
    add_pair(&whole, "the cat sat on the mat", "the cat sat on a mat");
    add_pair(&whole, "he ran", "he ran away");
    add_pair(&a, "the cat sat on the mat", "the cat sat on a mat");
    add_pair(&b, "he ran", "he ran away");
    for (int i = 0; i < SP_BLEU_ORDER; i++) {
        assert_int_equal(whole.matches[i], a.matches[i] + b.matches[i]);
        assert_int_equal(whole.totals[i], a.totals[i] + b.totals[i]);
    }
    assert_int_equal(whole.hypothesis_len, a.hypothesis_len + b.hypothesis_len);
    assert_int_equal(whole.reference_len, a.reference_len + b.reference_len);
}

/* By hand: 3 of 4 words, 1 of 3 pairs, 0 of 2 triples (1/2 of one), 0 of 1 (1/4), no penalty. */
static void smoothing_halves_for_each_order_without_match(void **state) {
    sp_bleu bleu = {0};
    add_pair(&bleu, "a b x c", "a b c");
    assert_close(sp_bleu_score(&bleu),
                 100 * pow(3.0 / 4 * 1 / 3 * (1.0 / 2 / 2) * (1.0 / 4 / 1), 0.25), tolerance);
}

static void bytes_that_are_no_text_are_compared_as_they_are(void **state) {
    const char hypothesis[] = "\xFF\xFE \0 b c", reference[] = "\xFF\xFE \0 b c";
    sp_bleu bleu = {0};
    assert_int_equal(
        sp_bleu_add(&bleu, hypothesis, sizeof hypothesis - 1, reference, sizeof reference - 1),
        SP_OK);
    assert_int_equal(bleu.matches[0], 4);
    assert_close(sp_bleu_score(&bleu), 100, tolerance);
    assert_int_equal(sp_bleu_add(&bleu, NULL, 0, NULL, 0), SP_OK);
    assert_int_equal(bleu.hypothesis_len, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_score_is_sacrebleus), cmocka_unit_test(sentence_score_is_nltks),
        cmocka_unit_test(counts_of_parts_add_up_to_the_whole),
        cmocka_unit_test(smoothing_halves_for_each_order_without_match),
        cmocka_unit_test(bytes_that_are_no_text_are_compared_as_they_are)};
    return cmocka_run_group_tests_name("bleu", tests, load_fixture, free_fixture);
}
