/* F1 and exact match as SQuAD's scripts give them; the fixture is made by
   tools/make_answer_fixtures.py. */
#include "tests/check.h"

#include "base/json.h"
#include "text/answer.h"

#include <stdlib.h>

static const double tolerance = 1e-12; /* the same operations in f64 */

enum { MOST_ANSWERS = 8 };

static sp_answer_text text_of(const json_t *string) {
    return (sp_answer_text){json_string_value(string), json_string_length(string)};
}

static void check_rule(const json_t *entry, const char *member, sp_answer_rule rule) {
    const json_t *answers = json_object_get(entry, "answers");
    const json_t *wanted = json_object_get(entry, member);
    sp_answer_text texts[MOST_ANSWERS];
    assert_true(json_array_size(answers) <= MOST_ANSWERS);
    for (size_t i = 0; i < json_array_size(answers); i++)
        texts[i] = text_of(json_array_get(answers, i));
    sp_answer_score score = {-1, -1};
    assert_int_equal(sp_answer_score_best(&score, text_of(json_object_get(entry, "prediction")),
                                          texts, json_array_size(answers), rule),
                     SP_OK);
    const double f1 = json_number_value(json_array_get(wanted, 0));
    const double exact = json_number_value(json_array_get(wanted, 1));
    if (fabs(score.f1 - f1) > tolerance || score.exact != exact)
        fail_msg("%s: %s: %g %g, not %g %g", json_dumps(entry, 0), member, score.f1, score.exact,
                 f1, exact);
}

static void scores_are_those_of_the_scripts(void **state) {
    json_t *fixture = NULL;
    assert_int_equal(sp_json_load_file(&fixture, "tests/fixtures/answers/scores.json"), SP_OK);
    const json_t *entry;
    size_t i;
    json_array_foreach(fixture, i, entry) {
        check_rule(entry, "squad_1", SP_ANSWER_SQUAD_1);
        check_rule(entry, "squad_2", SP_ANSWER_SQUAD_2);
    }
    assert_true(i > 250);
    json_decref(fixture);
}

static sp_answer_score score_of(sp_answer_text prediction, sp_answer_text answer) {
    sp_answer_score score = {-1, -1};
    assert_int_equal(sp_answer_score_best(&score, prediction, &answer, 1, SP_ANSWER_SQUAD_1),
                     SP_OK);
    return score;
}

static void bytes_that_are_no_text_are_compared_as_they_are(void **state) {
    const char made[] = "The \xFF\xFE, a\0b", answer[] = "\xFF\xFE a\0b";
    const sp_answer_score same = score_of((sp_answer_text){made, sizeof made - 1},
                                          (sp_answer_text){answer, sizeof answer - 1});
    assert_close(same.exact, 1, 0);
    const sp_answer_score other =
        score_of((sp_answer_text){"\xFF", 1}, (sp_answer_text){"\xFE", 1});
    assert_close(other.f1, 0, 0);
    assert_close(score_of((sp_answer_text){NULL, 0}, (sp_answer_text){"x", 1}).f1, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_the_scripts),
        cmocka_unit_test(bytes_that_are_no_text_are_compared_as_they_are)};
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
