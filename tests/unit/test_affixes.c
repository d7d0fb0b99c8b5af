#include "tests/check.h"

#include "text/affixes.h"

#include <stdio.h>

/* A tokenizer.json with that post-processor. */
static sp_status read(sp_affixes *affixes, const char *post_processor) {
    char text[2048];
    snprintf(text, sizeof text, "{\"post_processor\": %s}", post_processor);
    json_t *json = json_loads(text, 0, NULL);
    if (json == NULL) fail_msg("not JSON: %s", text);
    const sp_status status = sp_affixes_read(affixes, json, "t.json");
    json_decref(json);
    return status;
}

static void assert_affixes(const char *post_processor, const int32_t *before, size_t n_before,
                           const int32_t *after, size_t n_after) {
    sp_affixes affixes = {.n_before = 99};
    if (read(&affixes, post_processor) != SP_OK) fail_msg("%s", sp_message());
    assert_int_equal(affixes.n_before, n_before);
    assert_int_equal(affixes.n_after, n_after);
    for (size_t i = 0; i < n_before; i++) assert_int_equal(affixes.before[i], before[i]);
    for (size_t i = 0; i < n_after; i++) assert_int_equal(affixes.after[i], after[i]);
}

#define TEXT "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define BOS "{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}"
#define EOS "{\"SpecialToken\": {\"id\": \"</s>\", \"type_id\": 0}}"
#define TOKENS                                                                               \
    "\"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}, " \
    "\"</s>\": {\"id\": \"</s>\", \"ids\": [2, 7], \"tokens\": [\"</s>\", \"x\"]}}"
#define TEMPLATE(items) \
    "{\"type\": \"TemplateProcessing\", \"single\": [" items "], \"pair\": [], " TOKENS "}"

static const int32_t bos[] = {1, 1}, eos[] = {2, 7};

static void tokens_stand_before_and_after_the_text(void **state) {
    assert_affixes(TEMPLATE(BOS ", " TEXT), bos, 1, NULL, 0);
    assert_affixes(TEMPLATE(TEXT ", " EOS), NULL, 0, eos, 2);
    assert_affixes(TEMPLATE(BOS ", " BOS ", " TEXT ", " EOS), bos, 2, eos, 2);
    assert_affixes(TEMPLATE(TEXT), NULL, 0, NULL, 0);
}

static void a_template_is_found_inside_a_sequence(void **state) {
    assert_affixes("{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, " TEMPLATE(
                       BOS ", " TEXT) "]}",
                   bos, 1, NULL, 0);
}

static void without_a_template_there_are_none(void **state) {
    static const char *const without[] = {
        "null", "{\"type\": \"ByteLevel\"}",
        "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}]}"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        assert_affixes(without[i], NULL, 0, NULL, 0);
}

static void another_processor_is_refused_by_name(void **state) {
    sp_affixes affixes = {.n_before = 5};
    assert_int_equal(read(&affixes, "{\"type\": \"RobertaProcessing\"}"), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'RobertaProcessing'"));
    assert_int_equal(read(&affixes, "{\"type\": \"Sequence\", \"processors\": [{\"type\": "
                                    "\"BertProcessing\"}]}"),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'BertProcessing'"));
    assert_int_equal(read(&affixes, "[]"), SP_BAD_DATA);
    assert_int_equal(affixes.n_before, 5);
}

static void templates_that_contradict_themselves_are_refused(void **state) {
    static const char *const bad[] = {
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "]}",
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "], \"special_tokens\": {}}",
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "], \"special_tokens\": {\"<s>\": "
        "{\"ids\": 1}}}",
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "], \"special_tokens\": {\"<s>\": "
        "{\"ids\": [\"1\"]}}}",
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "], \"special_tokens\": {\"<s>\": "
        "{\"ids\": [-1]}}}",
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "], \"special_tokens\": {\"<s>\": "
        "{\"ids\": [2147483648]}}}",
        "{\"type\": \"TemplateProcessing\", \"single\": [" BOS "], \"special_tokens\": {\"<s>\": "
        "{\"ids\": [1, 2, 3, 4, 5, 6, 7, 8, 9]}}}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sp_affixes affixes = {.n_before = 5};
        if (read(&affixes, bad[i]) != SP_BAD_DATA) fail_msg("%s passes", bad[i]);
        assert_non_null(strstr(sp_message(), "'t.json'"));
        assert_non_null(strstr(sp_message(), "'<s>'"));
        assert_int_equal(affixes.n_before, 5);
    }
}

static void as_many_as_there_is_room_for_are_read(void **state) {
    sp_affixes affixes = {0};
    assert_int_equal(read(&affixes, "{\"type\": \"TemplateProcessing\", \"single\": [" BOS
                                    "], \"special_tokens\": {\"<s>\": {\"ids\": [1, 2, 3, 4, 5, "
                                    "6, 7, 2147483647]}}}"),
                     SP_OK);
    assert_int_equal(affixes.n_before, SP_MOST_AFFIXES);
    assert_int_equal(affixes.before[7], INT32_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_stand_before_and_after_the_text),
        cmocka_unit_test(a_template_is_found_inside_a_sequence),
        cmocka_unit_test(without_a_template_there_are_none),
        cmocka_unit_test(another_processor_is_refused_by_name),
        cmocka_unit_test(templates_that_contradict_themselves_are_refused),
        cmocka_unit_test(as_many_as_there_is_room_for_are_read),
    };
    return cmocka_run_group_tests_name("affixes", tests, NULL, NULL);
}
