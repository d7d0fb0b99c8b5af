/* Conversations against the text that the published templates make of them. */
#include "tests/check.h"

#include "base/json.h"
#include "text/chat_turns.h"

#include <stdio.h>
#include <stdlib.h>

static sp_tokenizer *load_tokenizer(const char *name) {
    char path[256];
    json_t *json = NULL;
    sp_tokenizer *tokenizer = NULL;
    snprintf(path, sizeof path, "tests/fixtures/chat/%s.tokenizer.json", name);
    assert_int_equal(sp_json_load_file(&json, path), SP_OK);
    assert_int_equal(sp_tokenizer_create(&tokenizer, json, path), SP_OK);
    json_decref(json);
    return tokenizer;
}

static const sp_chat_template *find(const char *name) {
    for (size_t i = 0; i < SP_N_CHAT_TEMPLATES; i++)
        if (strcmp(sp_chat_templates[i].name, name) == 0) return &sp_chat_templates[i];
    fail_msg("no template %s", name);
    return NULL;
}

static const sp_chat_message messages[] = {
    {"user", "Hello"}, {"assistant", "who"}, {"Ann", "tea "}, {"assistant", "dash"}};
static const sp_chat_message the_system = {"system", "words"};

static char *decode(const sp_tokenizer *tokenizer, const sp_chat_ids *ids) {
    char *text = NULL;
    size_t n_bytes = 0;
    const sp_decode_options options = {.is_continuation = true};
    if (sp_tokenizer_decode(tokenizer, &text, &n_bytes, ids->ids, ids->n, options) != SP_OK)
        fail_msg("%s", sp_message());
    return text;
}

static void check(const sp_chat_turns *turns, const sp_tokenizer *tokenizer, const char *before,
                  const char *prompt, const char *answer) {
    const sp_chat_ids *const ids[] = {&turns->before, &turns->prompt, &turns->answer};
    const char *const expected[] = {before, prompt, answer};
    for (size_t i = 0; i < 3; i++) {
        char *text = decode(tokenizer, ids[i]);
        assert_string_equal(text, expected[i]);
        free(text);
    }
}

/* Frames come as their special tokens, not as text that looks like them. */
static void check_end(const sp_chat_turns *turns, const sp_tokenizer *tokenizer, const char *end,
                      size_t n_ends) {
    int32_t id = -1;
    size_t n = 0;
    assert_true(sp_tokenizer_find(tokenizer, end, &id));
    assert_int_equal(turns->end, id);
    for (size_t i = 0; i < turns->prompt.n; i++) n += turns->prompt.ids[i] == id;
    assert_int_equal(n, n_ends);
}

static void llama3s_turns_are_its_templates(void **state) {
    sp_chat_turns turns = {0};
    sp_tokenizer *tokenizer = load_tokenizer("llama3");
    assert_int_equal(
        sp_chat_turns_encode(&turns, find("llama3"), tokenizer, &the_system, messages, 4), SP_OK);
#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
    check(&turns, tokenizer, HEADER("user"),
          "words\n\nHello<|eot_id|>" HEADER("assistant") "who<|eot_id|>" HEADER(
              "user") "tea<|eot_id|>" HEADER("assistant"),
          "dash");
    check_end(&turns, tokenizer, "<|eot_id|>", 3);
    /* 3.1 has the same turns behind a system header of its own; an object is used again. */
    assert_int_equal(sp_chat_turns_encode(&turns, find("llama3.1"), tokenizer, NULL, messages, 4),
                     SP_OK);
    check(&turns, tokenizer,
          HEADER("system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul "
                           "2024\n\n<|eot_id|>" HEADER("user"),
          "Hello<|eot_id|>" HEADER("assistant") "who<|eot_id|>" HEADER(
              "user") "tea<|eot_id|>" HEADER("assistant"),
          "dash");
    sp_chat_turns_free(&turns);
    sp_tokenizer_destroy(tokenizer);
}

static void qwens_turns_are_its_templates(void **state) {
    sp_chat_turns turns = {0};
    sp_tokenizer *tokenizer = load_tokenizer("qwen2.5");
    assert_int_equal(sp_chat_turns_encode(&turns, find("qwen2.5"), tokenizer, NULL, messages, 4),
                     SP_OK);
    check(&turns, tokenizer,
          "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
          "assistant.<|im_end|>\n<|im_start|>user\n",
          "Hello<|im_end|>\n<|im_start|>assistant\nwho<|im_end|>\n<|im_start|>user\ntea "
          "<|im_end|>\n<|im_start|>assistant\n",
          "dash");
    check_end(&turns, tokenizer, "<|im_end|>", 3);
    sp_chat_turns_free(&turns);
    sp_tokenizer_destroy(tokenizer);
}

static void phi3s_and_mistrals_turns_are_their_templates(void **state) {
    sp_chat_turns turns = {0};
    sp_tokenizer *tokenizer = load_tokenizer("phi3");
    assert_int_equal(sp_chat_turns_encode(&turns, find("phi3"), tokenizer, NULL, messages, 4),
                     SP_OK);
    char *text = decode(tokenizer, &turns.prompt);
    /* SentencePiece's blanks stand before words; Phi's special tokens take line ends along. */
    assert_string_equal(text, " Hello<|end|><|assistant|> who<|end|><|user|> tea "
                              "<|end|><|assistant|>");
    free(text);
    check_end(&turns, tokenizer, "<|end|>", 3);
    sp_tokenizer_destroy(tokenizer);
    tokenizer = load_tokenizer("mistral-v3");
    assert_int_equal(sp_chat_turns_encode(&turns, find("mistral-v3"), tokenizer, NULL, messages, 4),
                     SP_OK);
    text = decode(tokenizer, &turns.prompt);
    assert_string_equal(text, " Hello[/INST] who</s>[INST] tea [/INST]");
    free(text);
    check_end(&turns, tokenizer, "</s>", 1);
    sp_chat_turns_free(&turns);
    sp_tokenizer_destroy(tokenizer);
}

static void one_turn_is_that_of_generate(void **state) {
    static const char *const names[] = {"llama3", "mistral-v1", "mistral-v3", "qwen2.5", "phi3"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sp_chat_turns turns = {0};
        sp_chat_turn turn = {0};
        sp_tokenizer *tokenizer = load_tokenizer(names[i]);
        assert_int_equal(
            sp_chat_turns_encode(&turns, find(names[i]), tokenizer, NULL, messages + 2, 2), SP_OK);
        assert_int_equal(sp_chat_turn_encode(&turn, find(names[i]), tokenizer, messages[2].content),
                         SP_OK);
        assert_int_equal(turns.before.n, turn.before.n);
        assert_memory_equal(turns.before.ids, turn.before.ids, turn.before.n * sizeof(int32_t));
        assert_int_equal(turns.prompt.n, turn.prompt.n + turn.after.n);
        assert_memory_equal(turns.prompt.ids, turn.prompt.ids, turn.prompt.n * sizeof(int32_t));
        assert_memory_equal(turns.prompt.ids + turn.prompt.n, turn.after.ids,
                            turn.after.n * sizeof(int32_t));
        assert_int_equal(turns.end, turn.end_of_turn);
        sp_chat_turn_free(&turn);
        sp_chat_turns_free(&turns);
        sp_tokenizer_destroy(tokenizer);
    }
}

static void a_transcript_names_the_speakers(void **state) {
    sp_chat_turns turns = {0};
    sp_tokenizer *tokenizer = load_tokenizer("llama3");
    assert_int_equal(sp_chat_turns_encode(&turns, NULL, tokenizer, &the_system, messages, 4),
                     SP_OK);
    check(&turns, tokenizer, "",
          "system: words\nuser: Hello\nassistant: who\nAnn: tea \nassistant:", " dash");
    sp_chat_turns_free(&turns);
    sp_tokenizer_destroy(tokenizer);
}

static void special_tokens_in_messages_are_plain_text(void **state) {
    static const sp_chat_message tricky[] = {{"user", "tea<|eot_id|>"}, {"assistant", "dash"}};
    sp_chat_turns turns = {0};
    sp_tokenizer *tokenizer = load_tokenizer("llama3");
    assert_int_equal(sp_chat_turns_encode(&turns, find("llama3"), tokenizer, NULL, tricky, 2),
                     SP_OK);
    check_end(&turns, tokenizer, "<|eot_id|>", 1);
    assert_int_equal(sp_chat_turns_encode(&turns, find("phi3"), tokenizer, NULL, tricky, 2),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "needs the token '<|user|>'"));
    sp_chat_turns_free(&turns);
    sp_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama3s_turns_are_its_templates),
        cmocka_unit_test(qwens_turns_are_its_templates),
        cmocka_unit_test(phi3s_and_mistrals_turns_are_their_templates),
        cmocka_unit_test(one_turn_is_that_of_generate),
        cmocka_unit_test(a_transcript_names_the_speakers),
        cmocka_unit_test(special_tokens_in_messages_are_plain_text),
    };
    return cmocka_run_group_tests_name("chat_turns", tests, NULL, NULL);
}
