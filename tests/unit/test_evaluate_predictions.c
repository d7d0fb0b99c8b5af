/* Predictions made elsewhere are scored as the reference scripts score them, from every file form; the
   fixtures and their figures are made by tools/make_answer_fixtures.py. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/log.h"
#include "run/evaluate_predictions.h"
#include "run/evaluate_questions.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIXTURES "tests/fixtures/answers/"

static const double tolerance = 1e-12; /* the same operations in f64, in the same order */

static json_t *expected;
static temp_file file;

static int set_up(void **state) {
    sp_log_set_level(SP_LOG_QUIET);
    temp_folder_create(file.dir);
    return sp_json_load_file(&expected, FIXTURES "expected.json") == SP_OK ? 0 : -1;
}

static int tear_down(void **state) {
    temp_folder_remove(file.dir);
    json_decref(expected);
    return 0;
}

/* Every figure of `name` in expected.json is the result's. */
static void check_result(const json_t *result, const char *name) {
    const json_t *figures = json_object_get(expected, name), *figure;
    const char *key;
    size_t n = 0;
    json_object_foreach((json_t *)figures, key, figure) {
        assert_non_null(json_object_get(result, key));
        assert_close(json_number_value(json_object_get(result, key)), json_number_value(figure),
                     tolerance);
        n++;
    }
    assert_true(n >= 4);
}

static void check_answers(const char *data, const char *name, const char *form) {
    char data_path[256], predictions[256];
    json_t *result = NULL;
    snprintf(data_path, sizeof data_path, FIXTURES "%s", data);
    snprintf(predictions, sizeof predictions, FIXTURES "%s.predictions.jsonl", name);
    const sp_predictions_job job = {.data = data_path, .predictions = predictions};
    assert_int_equal(sp_score_answers(&result, &job), SP_OK);
    check_result(result, name);
    assert_string_equal(json_string_value(json_object_get(result, "data")), form);
    json_decref(result);
}

static void scores_of_squad_are_its_scripts(void **state) {
    check_answers("squad-1.json", "squad-1", "SQuAD");
    check_answers("squad-2.json", "squad-2", "SQuAD");
}

static void scores_of_hotpotqa_are_squads(void **state) {
    check_answers("hotpotqa.json", "hotpotqa", "HotpotQA");
}

static void scores_of_natural_questions_are_squads(void **state) {
    check_answers("nq.jsonl", "nq", "NQ");
    check_answers("nq-documents.jsonl", "nq-documents", "NQ");
}

static void scores_of_reconstructions_are_sacrebleus_and_rouge_scores(void **state) {
    json_t *result = NULL;
    const sp_predictions_job job = {.predictions = FIXTURES "reconstruction.predictions.jsonl"};
    assert_int_equal(sp_score_reconstructions(&result, &job), SP_OK);
    check_result(result, "reconstruction");
    json_decref(result);
}

static void a_limit_takes_the_first(void **state) {
    json_t *result = NULL;
    const sp_predictions_job job = {.predictions = FIXTURES "reconstruction.predictions.jsonl",
                                    .limit = 1};
    assert_int_equal(sp_score_reconstructions(&result, &job), SP_OK);
    assert_int_equal(json_integer_value(json_object_get(result, "count")), 1);
    assert_close(json_number_value(json_object_get(result, "bleu")), 100, tolerance);
    json_decref(result);
    const sp_predictions_job answers = {FIXTURES "squad-1.json",
                                        FIXTURES "squad-1.predictions.jsonl", 6};
    assert_int_equal(sp_score_answers(&result, &answers), SP_OK);
    assert_int_equal(json_integer_value(json_object_get(result, "count")), 6);
    assert_int_equal(json_integer_value(json_object_get(result, "missing")), 1);
    json_decref(result);
}

static const char *write_file(char path[TEMP_PATH_SIZE], const char *name, const char *text) {
    temp_write(temp_path(path, file.dir, name), text, strlen(text));
    return path;
}

static sp_status score(json_t **result, const char *data, const char *predictions) {
    char data_path[TEMP_PATH_SIZE], predictions_path[TEMP_PATH_SIZE];
    const sp_predictions_job job = {.data = write_file(data_path, "data", data),
                                    .predictions =
                                        write_file(predictions_path, "predictions", predictions)};
    return sp_score_answers(result, &job);
}

static const char one[] = "{\"id\": 7, \"question\": \"q\", \"answers\": [\"cat\", \"dog\"]}\n";

static void check_f1(const char *data, const char *predictions, double f1, size_t n_missing) {
    json_t *result = NULL;
    assert_int_equal(score(&result, data, predictions), SP_OK);
    assert_close(json_number_value(json_object_get(result, "f1")), f1, tolerance);
    assert_int_equal(json_integer_value(json_object_get(result, "missing")), n_missing);
    json_decref(result);
}

static void ids_are_text_numbers_questions_or_places(void **state) {
    check_f1(one, "{\"id\": 7, \"prediction\": \"a dog\"}", 100, 0);
    check_f1(one, "{\"id\": \"7\", \"prediction\": \"dog\"}", 100, 0);
    check_f1(one, "{\"id\": \"0\", \"prediction\": \"dog\"}", 0, 1); /* it has an id of its own */
    static const char nameless[] = "[{\"question\": \"q\", \"answer\": \"cat\"},"
                                   " {\"question\": \"r\", \"answer\": \"dog\"}]";
    check_f1(nameless, "{\"question\": \"r\", \"prediction\": \"dog\"}", 50, 1);
    check_f1(nameless, "{\"id\": 1, \"prediction\": \"dog\"}\n\n{\"id\": 0, \"prediction\": \"x\"}",
             50, 0);
}

static void predictions_may_be_one_object(void **state) {
    check_f1(one, "{\"7\": \"dog\", \"8\": \"cat\"}", 100, 0);
    check_f1(one, "{\n\"7\":\n\"dog\"}\n", 100, 0);
    check_f1(one, "{\"answer\": {\"7\": \"cat\"}, \"sp\": {\"7\": []}}", 100, 0);
}

static void check_refused(const char *data, const char *predictions, const char *says) {
    json_t *result = NULL;
    assert_int_equal(score(&result, data, predictions), SP_BAD_DATA);
    assert_null(result);
    if (strstr(sp_message(), says) == NULL) fail_msg("'%s' has no '%s'", sp_message(), says);
}

static void what_is_not_of_the_form_is_refused_by_its_place(void **state) {
    static const char good[] = "{\"id\": 7, \"prediction\": \"dog\"}\n";
    check_refused(one, "{\"id\": 7, \"prediction\": \"dog\"}\n{\"id\": 8}x\n", "line 2");
    check_refused(one, "{\"id\": 7, \"prediction\": \"dog\"}\n\n{\"id\": 7, \"prediction\": \"\"}",
                  "line 3: there is a prediction for '7' already");
    check_refused(one, "{\"prediction\": \"dog\"}", "line 1: the prediction has no id");
    check_refused(one, "{\"id\": 7, \"prediction\": 3}", "a prediction is no text");
    check_refused(one, "[1]", "line 1");
    check_refused("", good, "no question in it");
    check_refused("{\"data\": [{\"paragraphs\": [{\"qas\": [{}]}]}]}", good,
                  "article 0, paragraph 0, question 0: the paragraph has no context");
    check_refused("{\"question\": \"q\"}", good, "line 1: there is no answer");
    check_refused("[{\"question\": \"q\", \"answer\": 3}]", good, "item 0: an answer is no text");
    check_refused("{\"question_text\": \"q\", \"document_text\": \"a b\", \"annotations\": "
                  "[{\"short_answers\": [{\"start_token\": 1, \"end_token\": 3}]}]}",
                  good, "line 1: a short answer lies beyond");
    check_refused("3", good, "not an object");
}

/* Cut anywhere, a file is refused or holds fewer questions, and nothing reads beyond it. */
static void files_cut_anywhere_give_no_more(void **state) {
    static const char *const names[] = {"squad-1.json", "hotpotqa.json", "nq-documents.jsonl"};
    for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
        char source[256], path[TEMP_PATH_SIZE];
        size_t n_bytes = 0;
        snprintf(source, sizeof source, FIXTURES "%s", names[f]);
        char *bytes = temp_read(source, &n_bytes);
        for (size_t n = 0; n < n_bytes; n += 1 + n / 97) {
            sp_question_reader *reader = NULL;
            sp_qa_question question;
            bool is_end = false;
            size_t n_questions = 0;
            temp_write(temp_path(path, file.dir, names[f]), bytes, n);
            assert_int_equal(sp_question_reader_open(&reader, path), SP_OK);
            while (sp_question_reader_next(reader, &question, &is_end) == SP_OK && !is_end)
                n_questions++;
            assert_true(n_questions < 18);
            sp_question_reader_close(reader);
        }
        free(bytes);
    }
}

/* The published files, where they are. */
static void published_files_are_read_as_they_are(void **state) {
    static const struct {
        const char *name;
        size_t n_questions, n_contexts;
        const char *form;
        bool has_contexts;
    } files[] = {
        {"squad/xquad.en.json", 469, 100, "SQuAD", true},
        {"adversarialqa/1_dbidaf/dev.json", 57, 13, "SQuAD", true},
        {"adversarialqa/2_dbert/dev.json", 42, 11, "SQuAD", true},
        {"adversarialqa/3_droberta/dev.json", 9, 4, "SQuAD", true},
        {"adversarialqa/combined/dev.json", 148, 19, "SQuAD", true},
        {"hotpotqa/hotpot_dev_distractor_v1.json", 70, 70, "HotpotQA", true},
        {"hotpotqa/hotpot_train_v1.1.json", 60, 60, "HotpotQA", true},
        {"nq/NQ-open.dev.jsonl", 300, 300, "NQ", false},
        {"nq/nq-open-oracle.jsonl", 300, 300, "NQ", true},
        {"nq/simplified-nq-longdoc.jsonl.gz", 78, 78, "NQ", true},
    };
    if (access("../shared/data/eval", R_OK) != 0) {
        print_message("skipped: needs ../shared/data/eval (published evaluation files)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        sp_question_reader *reader = NULL;
        sp_qa_question question;
        bool is_end = false;
        size_t n = 0, n_contexts = 0;
        snprintf(path, sizeof path, "../shared/data/eval/%s", files[i].name);
        assert_int_equal(sp_question_reader_open(&reader, path), SP_OK);
        while (sp_question_reader_next(reader, &question, &is_end) == SP_OK && !is_end) {
            n++;
            n_contexts = question.context_number + 1;
            assert_true(question.n_answers > 0);
            assert_true(question.question.n_bytes > 0);
            assert_true((question.context.n_bytes > 0) == files[i].has_contexts);
        }
        assert_true(is_end);
        assert_int_equal(n, files[i].n_questions);
        assert_int_equal(n_contexts, files[i].n_contexts);
        assert_string_equal(sp_question_reader_form(reader), files[i].form);
        sp_question_reader_close(reader);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_of_squad_are_its_scripts),
        cmocka_unit_test(scores_of_hotpotqa_are_squads),
        cmocka_unit_test(scores_of_natural_questions_are_squads),
        cmocka_unit_test(scores_of_reconstructions_are_sacrebleus_and_rouge_scores),
        cmocka_unit_test(a_limit_takes_the_first),
        cmocka_unit_test(ids_are_text_numbers_questions_or_places),
        cmocka_unit_test(predictions_may_be_one_object),
        cmocka_unit_test(what_is_not_of_the_form_is_refused_by_its_place),
        cmocka_unit_test(files_cut_anywhere_give_no_more),
        cmocka_unit_test(published_files_are_read_as_they_are),
    };
    return cmocka_run_group_tests_name("evaluate_predictions", tests, set_up, tear_down);
}
