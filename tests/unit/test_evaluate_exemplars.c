/* Examples of in-context learning: their files, their order, and GSM8K's numbers. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "run/evaluate_exemplars.h"

#include <stdio.h>
#include <unistd.h>

static temp_file file;

static int set_up(void **state) {
    temp_folder_create(file.dir);
    temp_path(file.path, file.dir, "examples");
    return 0;
}

static int tear_down(void **state) {
    temp_folder_remove(file.dir);
    return 0;
}

static sp_status read_text(sp_exemplars *exemplars, const char *text) {
    temp_write(file.path, text, strlen(text));
    return sp_exemplars_read(exemplars, file.path, 0);
}

static void examples_are_put_as_the_paper_does(void **state) {
    sp_exemplars e;
    assert_int_equal(read_text(&e, "label\tsentence\n1\ta fine film \n0\tno, thanks\n"), SP_OK);
    assert_string_equal(e.task, "SST-2");
    assert_string_equal(e.items[0].prompt, "Sentence: a fine film\nSentiment:");
    assert_string_equal(e.items[0].empty, "Sentence: N/A\nSentiment:");
    assert_string_equal(e.items[0].answer, " positive");
    assert_string_equal(e.options[e.items[1].label], " negative");
    sp_exemplars_free(&e);
    assert_int_equal(read_text(&e, "{\"text\": \"Jane ate it.\", \"label\": false, \"target\": "
                                   "{\"span1_text\": \"Jane\", \"span2_text\": \"it\"}}\r\n\n"),
                     SP_OK);
    assert_string_equal(e.task, "WSC");
    assert_int_equal(e.n, 1);
    assert_string_equal(e.items[0].prompt, "Question: In the sentence \"Jane ate it.\", does the "
                                           "pronoun 'it' refer to Jane?\nAnswer:");
    assert_string_equal(e.items[0].empty,
                        "Question: In the sentence \"N/A\", does the pronoun 'it' "
                        "refer to Jane?\nAnswer:");
    assert_string_equal(e.items[0].answer, " no");
    sp_exemplars_free(&e);
    assert_int_equal(read_text(&e, "{\"question\": \"1+1?\", \"answer\": \"It is\\n#### 2\"}"),
                     SP_OK);
    assert_string_equal(e.task, "GSM8K");
    assert_null(e.options);
    assert_string_equal(e.items[0].prompt, "Question: 1+1?\nAnswer:");
    assert_string_equal(e.items[0].answer, " It is\n#### 2");
    sp_exemplars_free(&e);
}

static void options_come_in_turn_until_one_has_no_more(void **state) {
    sp_exemplars e;
    size_t order[8];
    assert_int_equal(read_text(&e, "sentence\tlabel\na\t1\nb\t1\nc\t0\nd\t1\ne\t0\nf\t1\n"), SP_OK);
    const size_t wanted[] = {2, 0, 4, 1};
    assert_int_equal(sp_exemplars_order(&e, order), 4);
    assert_memory_equal(order, wanted, sizeof wanted);
    sp_exemplars_free(&e);
}

static void check_solved(const char *answer, const char *text, bool is_solved) {
    const sp_exemplar example = {.answer = (char *)answer};
    if (sp_exemplar_is_solved(&example, text) != is_solved)
        fail_msg("'%s' for '%s': %d", text, answer, !is_solved);
}

static void numbers_are_found_where_they_answer(void **state) {
    check_solved(" 9+9=<<9+9=18>>18\n#### 18", " 9 and 9\n#### 18\n\nQuestion: 5?\nAnswer:\n#### 6",
                 true);
    check_solved(" #### 18", " #### $18.00", true);
    check_solved(" #### 1,234,000", "That is 1234000.", true);
    check_solved(" #### 1234", "It costs $1,234.", true);
    check_solved(" #### 18", "16 then 18.\n\nQuestion: 7 or 9?", true);
    check_solved(" #### 18", "16 then 18.\nQuestion: 7 or 9?", true);
    check_solved(" #### 18", "\n\n 18", true);
    check_solved(" #### 18", "18 then 16", false);
    check_solved(" #### -3", "below: -3", true);
    check_solved(" #### 3", "10-3", true);
    check_solved(" #### 3", "below: -3", false);
    check_solved(" #### 0.5", "a half, 0.5", true);
    check_solved(" #### 5", "no number", false);
    check_solved(" #### 5", "", false);
    check_solved(" #### 5", "#### none, 5", true);
    check_solved(" #### 18", "5,18", false); /* one number, 518 */
}

static void check_refused(const char *text, const char *says) {
    sp_exemplars e;
    assert_int_equal(read_text(&e, text), SP_BAD_DATA);
    assert_int_equal(e.n, 0);
    if (strstr(sp_message(), says) == NULL) fail_msg("'%s' has no '%s'", sp_message(), says);
}

static void what_is_not_of_the_form_is_refused_by_its_line(void **state) {
    check_refused("", "no example in it");
    check_refused("sentence\tlabel\n", "no example in it");
    check_refused("index\tsentence\n0\ta\n", "line 1: the table has no column 'label'");
    check_refused("x\n", "neither JSON nor a table");
    check_refused("sentence\tlabel\na\t1\nb\n", "line 3: fewer fields than columns");
    check_refused("sentence\tlabel\na\t2\n", "line 2: the label is neither");
    check_refused("{\"question\": \"q\", \"answer\": \"4\"}\n",
                  "line 1: no question with an answer");
    check_refused("{\"question\": \"q\", \"answer\": \"#### 4\"}\n{", "line 2, column");
    check_refused("{\"question\": \"q\", \"answer\": \"#### 4\"}\n{\"target\": {}}",
                  "line 2: another task");
    check_refused("{\"target\": {\"span1_text\": \"a\"}, \"text\": \"a\"}",
                  "no text with two spans");
    check_refused("{\"target\": {\"span1_text\": \"a\", \"span2_text\": \"a\"}, \"text\": \"a\"}",
                  "line 1: no label");
}

static void published_files_are_read_as_they_are(void **state) {
    static const struct {
        const char *name, *task;
        size_t n;
    } files[] = {
        {"gsm8k/train.jsonl", "GSM8K", 200},     {"gsm8k/test.jsonl", "GSM8K", 300},
        {"sst2-format/train.tsv", "SST-2", 400}, {"sst2-format/dev.tsv", "SST-2", 300},
        {"wsc/train.jsonl", "WSC", 252},         {"wsc/val.jsonl", "WSC", 19},
    };
    if (access("../shared/data/eval", R_OK) != 0) {
        print_message("skipped: needs ../shared/data/eval (published evaluation files)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        sp_exemplars e;
        snprintf(path, sizeof path, "../shared/data/eval/%s", files[i].name);
        assert_int_equal(sp_exemplars_read(&e, path, 0), SP_OK);
        assert_int_equal(e.n, files[i].n);
        assert_string_equal(e.task, files[i].task);
        for (size_t k = 0; e.options == NULL && k < e.n; k++)
            assert_true(sp_exemplar_is_solved(&e.items[k], e.items[k].answer));
        sp_exemplars_free(&e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_are_put_as_the_paper_does),
        cmocka_unit_test(options_come_in_turn_until_one_has_no_more),
        cmocka_unit_test(numbers_are_found_where_they_answer),
        cmocka_unit_test(what_is_not_of_the_form_is_refused_by_its_line),
        cmocka_unit_test(published_files_are_read_as_they_are),
    };
    return cmocka_run_group_tests_name("evaluate_exemplars", tests, set_up, tear_down);
}
