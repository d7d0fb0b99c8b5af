/* What a tokenizer.json may not hold, each named by the message. */
#include "tests/check.h"

#include "text/tokenizer.h"

#include <stdlib.h>

static json_t *gpt2_json(void) {
    json_t *value = NULL;
    if (sp_json_load_file(&value, "tests/fixtures/text/tokenizer_gpt2.json") != SP_OK)
        fail_msg("%s", sp_message());
    return value;
}

/* A change of the tokenizer that is refused, and what the message must name. */
typedef struct refusal {
    const char *path; /* members from the root, with / between */
    const char *value;
    const char *named;
} refusal;

static const refusal refusals[] = {
    {"normalizer", "{\"type\":\"Lowercase\"}", "Lowercase"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"}]}", "NFKC"},
    {"normalizer", "{\"type\":\"Sequence\"}", "normalizers"},
    {"normalizer", "{\"type\":\"Prepend\"}", "prepend"},
    {"normalizer", "{\"type\":\"Replace\",\"content\":\"_\"}", "Replace"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", "content"},
    {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}", "'('"},
    {"normalizer", "3", "normalizer"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"\"}", "Metaspace"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"often\"}",
     "often"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Metaspace\",\"replacement\":\"_\"},"
     "{\"type\":\"ByteLevel\"}]}",
     "Metaspace"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}",
     "Digits"},
    {"pre_tokenizer", "null", "decoder 'ByteLevel'"},
    {"pre_tokenizer", "{\"type\":\"Sequence\"}", "pretokenizers"},
    {"post_processor", "{\"type\":\"BertProcessing\"}", "BertProcessing"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\"},"
     "{\"type\":\"ByteLevel\"}]}",
     "Punctuation"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
     "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}",
     "pattern '('"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
     "\"behavior\":\"Shuffled\"},{\"type\":\"ByteLevel\"}]}",
     "Shuffled"},
    {"pre_tokenizer/use_regex", "7", "use_regex"},
    {"decoder", "{\"type\":\"Metaspace\"}", "Metaspace"},
    {"decoder",
     "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":\"CTC\"}]}", "CTC"},
    {"decoder",
     "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":\"Strip\"}]}",
     "content"},
    {"model", "[]", "model"},
    {"model/type", "\"Unigram\"", "Unigram"},
    {"model/byte_fallback", "true", "byte_fallback"},
    {"model/dropout", "0.1", "dropout"},
    {"model/continuing_subword_prefix", "\"##\"", "continuing_subword_prefix"},
    {"model/end_of_word_suffix", "\"</w>\"", "end_of_word_suffix"},
    {"model/unk_token", "\"<none>\"", "<none>"},
    {"model/vocab", "[]", "vocab"},
    {"model/vocab/zz", "-1", "zz"},
    {"model/vocab/zz", "99999999999", "zz"},
    {"model/vocab/zz", "\"1\"", "zz"},
    {"model/vocab/zz", "5", "two tokens"},
    {"model/merges", "{}", "merges"},
    {"model/merges", "[7]", "merges[0]"},
    {"model/merges", "[\"a b\",\"abc\"]", "merges[1]"},
    {"model/merges", "[\"a b c\"]", "merges[0]"},
    {"model/merges", "[[\"a\"]]", "merges[0]"},
    {"model/merges", "[\"a nosuchtoken\"]", "nosuchtoken"},
    {"model/merges", "[\"q z\"]", "qz"},
    {"added_tokens", "{}", "added_tokens"},
    {"added_tokens", "[{}]", "content"},
    {"added_tokens", "[{\"content\":\"a\",\"lstrip\":1}]", "lstrip"},
};

static void set_at(json_t *json, const char *path, json_t *value) {
    const char *slash;
    while ((slash = strchr(path, '/')) != NULL) {
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)(slash - path), path);
        json = json_object_get(json, key);
        path = slash + 1;
    }
    assert_int_equal(json_object_set_new(json, path, value), 0);
}

static void what_is_not_covered_is_refused_by_name(void **state) {
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        json_t *json = gpt2_json(), *value = NULL;
        assert_int_equal(
            sp_json_load_text(&value, refusals[i].value, strlen(refusals[i].value), "value"),
            SP_OK);
        set_at(json, refusals[i].path, value);
        sp_tokenizer *tokenizer = NULL;
        if (sp_tokenizer_create(&tokenizer, json, "some.json") != SP_BAD_DATA)
            fail_msg("%s = %s is not refused", refusals[i].path, refusals[i].value);
        assert_null(tokenizer);
        if (strstr(sp_message(), refusals[i].named) == NULL ||
            strstr(sp_message(), "some.json") == NULL)
            fail_msg("'%s' names neither '%s' nor the file", sp_message(), refusals[i].named);
        json_decref(json);
    }
}

static void an_empty_object_is_no_tokenizer(void **state) {
    json_t *json = json_object();
    sp_tokenizer *tokenizer = NULL;
    assert_int_equal(sp_tokenizer_create(&tokenizer, json, "x"), SP_BAD_DATA);
    assert_int_equal(sp_tokenizer_create(&tokenizer, NULL, "x"), SP_BAD_DATA);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_not_covered_is_refused_by_name),
                                       cmocka_unit_test(an_empty_object_is_no_tokenizer)};
    return cmocka_run_group_tests_name("tokenizer_refusals", tests, NULL, NULL);
}
