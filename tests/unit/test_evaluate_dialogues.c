/* Dialogues in HPD's layout, in both of its spellings, and as lines. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "run/evaluate_dialogues.h"

#include <stdio.h>
#include <unistd.h>

static temp_file file;

static int set_up(void **state) {
    temp_folder_create(file.dir);
    temp_path(file.path, file.dir, "dialogues");
    return 0;
}

static int tear_down(void **state) {
    temp_folder_remove(file.dir);
    return 0;
}

static sp_status read_text(sp_dialogues *dialogues, const char *text, size_t limit) {
    temp_write(file.path, text, strlen(text));
    return sp_dialogues_read(dialogues, file.path, limit);
}

static void check_session(const char *text) {
    sp_dialogues d;
    assert_int_equal(read_text(&d, text, 0), SP_OK);
    assert_string_equal(d.form, "HPD");
    assert_int_equal(d.n, 1);
    assert_string_equal(d.items[0].context, "Position: Book1-chapter2\n"
                                            "Scene: A tram. It rains.\n\n"
                                            "Mira: age 16; talents short cuts, maps\n"
                                            "Harry\n\n"
                                            "Mira and Harry: friend; Harry's affection to him 7\n");
    assert_string_equal(d.items[0].prompt, "Mira: Now?\nHarry: No.\nMira: Why?\nHarry:");
    assert_string_equal(d.items[0].answer, " It rains.");
    sp_dialogues_free(&d);
}

static void sessions_become_context_prompt_and_reply(void **state) {
    check_session(
        "{\n\"Session-1\": {\"position\": \"Book1-chapter2\", \"speakers\": [\"Mira\", \"Harry\"],"
        "\"scene\": [\"A tram.\", \"It rains.\"], \"dialogue\": [\"Mira: Now?\", \"Harry: No.\","
        "\"Mira: Why?\"], \"positive_response\": \"It rains.\", \"negative_responses\": [\"x\"],"
        "\"attributes\": {\"Mira\": {\"name\": \"Mira\", \"age\": \"16\", \"title\": \"\","
        "\"talents\": [\"short cuts\", \"maps\"]}, \"Harry\": {\"name\": \"Harry\"}},"
        "\"relations with Harry\": {\"Mira\": {\"name\": \"Mira\", \"friend\": 1.0, \"enemy\": 0.0,"
        "\"immediate family\": 0, \"Harry's affection to him\": 7}}}\n}");
    check_session(
        "{\"Session-1\": {\"Position\": \"Book1-chapter2\", \"Scene\": \"A tram. It rains.\","
        "\"Dialogue\": [\"Mira: Now?\", \"Harry: No.\", \"Mira: Why?\"],"
        "\"Positive-Response\": \"It rains.\", \"Negative- Response\": [],"
        "\"Attributes\": {\"Mira\": {\"age\": \"16\", \"talents\": \"short cuts, maps\"}, "
        "\"Harry\": {}}, \"Relations With Harry\": {\"Mira\": {\"friend\": 1, \"Harry's affection "
        "to "
        "him\": 7}}}}");
}

static void sessions_without_a_reply_are_passed_over(void **state) {
    sp_dialogues d;
    static const char text[] = "{\"a\": {\"dialogue\": [\"x\"]}, \"b\": {\"dialogue\": [\"y\"], "
                               "\"positive_response\": \"r\"}, \"c\": {\"dialogue\": [], "
                               "\"positive_response\": \"s\"}}";
    assert_int_equal(read_text(&d, text, 0), SP_OK);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_passed_over, 1);
    assert_string_equal(d.items[0].context, "\n\n");
    sp_dialogues_free(&d);
    assert_int_equal(read_text(&d, text, 1), SP_OK);
    assert_int_equal(d.n, 1);
    sp_dialogues_free(&d);
}

static void lines_are_taken_as_they_are(void **state) {
    sp_dialogues d;
    assert_int_equal(read_text(&d,
                               "{\"context\": \"c\", \"prompt\": \"p\", \"answer\": \" a\"}\n"
                               "{\"context\": \"\", \"prompt\": \"q\", \"answer\": \" b\"}\n",
                               0),
                     SP_OK);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.items[1].prompt, "q");
    assert_string_equal(d.items[1].answer, " b");
    sp_dialogues_free(&d);
}

static void check_refused(const char *text, const char *says) {
    sp_dialogues d;
    assert_int_equal(read_text(&d, text, 0), SP_BAD_DATA);
    assert_int_equal(d.n, 0);
    if (strstr(sp_message(), says) == NULL) fail_msg("'%s' has no '%s'", sp_message(), says);
}

static void what_is_not_of_the_form_is_refused_by_its_place(void **state) {
    check_refused("", "no dialogue with a reply; 0 without");
    check_refused("{\"a\": {\"dialogue\": [\"x\"]}}", "no dialogue with a reply; 1 without");
    check_refused("{\"Session-4\": {\"scene\": \"x\"}}", "Session-4: no dialogue");
    check_refused("{\"context\": \"c\", \"prompt\": \"p\"}", "line 1: 'answer' is no text");
    check_refused("[]", "line 1: 'context' is no text");
}

static void published_layout_is_read_as_it_is(void **state) {
    static const char path[] = "../shared/data/eval/hpd-synthetic/en_test_set.json";
    sp_dialogues d;
    if (access(path, R_OK) != 0) {
        print_message("skipped: needs ../shared/data/eval (published evaluation files)\n");
        skip();
    }
    assert_int_equal(sp_dialogues_read(&d, path, 0), SP_OK);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_passed_over, 0);
    assert_non_null(strstr(d.items[0].context, "Position: Book1-chapter2\nScene: Synthetic"));
    assert_non_null(strstr(d.items[0].context, "\nMira and Harry: friend; classmate; Harry's"));
    sp_dialogues_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_become_context_prompt_and_reply),
        cmocka_unit_test(sessions_without_a_reply_are_passed_over),
        cmocka_unit_test(lines_are_taken_as_they_are),
        cmocka_unit_test(what_is_not_of_the_form_is_refused_by_its_place),
        cmocka_unit_test(published_layout_is_read_as_it_is),
    };
    return cmocka_run_group_tests_name("evaluate_dialogues", tests, set_up, tear_down);
}
