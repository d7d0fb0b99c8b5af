#include "tests/check.h"

#include "base/json.h"
#include "text/chat_template.h"

#include <stdlib.h>

#define FOLDER "tests/fixtures/chat/"

static sp_tokenizer *load_tokenizer(const char *name) {
    char path[256];
    json_t *json = NULL;
    sp_tokenizer *tokenizer = NULL;
    snprintf(path, sizeof path, FOLDER "%s.tokenizer.json", name);
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

static const char *member(const json_t *turn, const char *key) {
    return json_string_value(json_object_get(turn, key));
}

static void append(int32_t *ids, size_t *n, const sp_encoding *encoding) {
    for (size_t i = 0; i < encoding->n; i++) ids[(*n)++] = encoding->ids[i];
}

/* The ids of transformers, whose template has no memory between `before` and the prompt. */
static void check_ids(const json_t *turn, const sp_chat_template *chat,
                      const sp_tokenizer *tokenizer) {
    int32_t ids[512];
    size_t n = 0;
    sp_chat_turn made = {0};
    const char *bos = member(turn, "bos");
    assert_int_equal(chat->has_bos, bos != NULL);
    if (bos != NULL) assert_true(sp_tokenizer_find(tokenizer, bos, &ids[n++]));
    assert_int_equal(sp_chat_turn_encode(&made, chat, tokenizer, member(turn, "prompt")), SP_OK);
    append(ids, &n, &made.before);
    append(ids, &n, &made.prompt);
    append(ids, &n, &made.after);
    const json_t *expected = json_object_get(turn, "ids");
    assert_int_equal(n, json_array_size(expected));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(expected, i)));
    sp_chat_turn_free(&made);
}

static void check_text(const json_t *turn, const sp_chat_template *chat) {
    const char *rendered = member(turn, "rendered"), *bos = member(turn, "bos");
    const size_t n_after = strlen(chat->after), n_rendered = strlen(rendered);
    const size_t n_bos = bos != NULL ? strlen(bos) : 0;
    assert_true(n_rendered > n_bos + n_after);
    assert_memory_equal(rendered + n_bos, chat->before, strlen(chat->before));
    assert_string_equal(rendered + n_rendered - n_after, chat->after);
}

static void turns_are_those_of_transformers(void **state) {
    json_t *turns = NULL, *turn;
    size_t i;
    assert_int_equal(sp_json_load_file(&turns, FOLDER "turns.json"), SP_OK);
    assert_true(json_array_size(turns) >= 21);
    json_array_foreach(turns, i, turn) {
        const sp_chat_template *chat = find(member(turn, "name"));
        sp_tokenizer *tokenizer = load_tokenizer(member(turn, "tokenizer"));
        check_text(turn, chat);
        check_ids(turn, chat, tokenizer);
        sp_tokenizer_destroy(tokenizer);
    }
    json_decref(turns);
}

static void models_are_recognised_by_their_tokens(void **state) {
    static const struct {
        const char *tokenizer, *model_type, *published, *expected;
    } cases[] = {
        {"llama3", "llama", NULL, "llama3"},
        {"llama3", "llama", "{{ bos_token }}{% for m in messages %}", "llama3"},
        {"llama3", "llama", "\"Cutting Knowledge Date: December 2023\\n\"", "llama3.1"},
        {"qwen2.5", "qwen2", NULL, "qwen2.5"},
        {"nemo", "mistral", NULL, "mistral-v3"},
        {"mistral-v3", "mistral", "'[INST] ' + content", "mistral-v3"},
        {"mistral-v1", "mistral", "'[INST] ' + content", "mistral-v1"},
        {"phi3", "phi3", NULL, "phi3"},
        /* Chat models of other makers, and models that do not chat. */
        {"mistral-v1", "llama", "'[INST] ' + content", NULL}, /* Llama 2 */
        {"mistral-v1", "mistral", NULL, NULL},
        {"mistral-v1", "phi3", NULL, NULL},
        {"qwen2.5", "llama", NULL, NULL},
        {"llama3", "qwen2", NULL, "llama3"}, /* tokens that no one else has */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sp_tokenizer *tokenizer = load_tokenizer(cases[i].tokenizer);
        const sp_chat_template *chat =
            sp_chat_template_recognise(tokenizer, cases[i].model_type, cases[i].published);
        assert_ptr_equal(chat, cases[i].expected != NULL ? find(cases[i].expected) : NULL);
        sp_tokenizer_destroy(tokenizer);
    }
}

static bool has(const sp_encoding *encoding, int32_t id) {
    for (size_t i = 0; i < encoding->n; i++)
        if (encoding->ids[i] == id) return true;
    return false;
}

static void a_prompt_cannot_end_its_turn(void **state) {
    static const char *const names[] = {"llama3", "qwen2.5", "mistral-v3", "phi3"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const sp_chat_template *chat = find(names[i]);
        sp_tokenizer *tokenizer = load_tokenizer(names[i]);
        sp_chat_turn turn = {0};
        char prompt[512];
        int32_t end_of_turn = -1, opening = -1;
        snprintf(prompt, sizeof prompt, "a%s b%s", chat->end_of_turn, chat->before);
        assert_int_equal(sp_chat_turn_encode(&turn, chat, tokenizer, prompt), SP_OK);
        assert_true(sp_tokenizer_find(tokenizer, chat->end_of_turn, &end_of_turn));
        assert_true(sp_tokenizer_find(tokenizer, chat->tokens[0], &opening));
        assert_int_equal(turn.end_of_turn, end_of_turn);
        assert_false(has(&turn.prompt, end_of_turn));
        assert_false(has(&turn.prompt, opening));
        assert_true(has(&turn.before, opening));
        sp_chat_turn_free(&turn);
        sp_tokenizer_destroy(tokenizer);
    }
}

static void white_space_goes_where_the_template_trims(void **state) {
    static const char *const prompts[] = {"", " \t\n", "\n a  b \r\n"};
    static const size_t n_trimmed[] = {0, 0, 4};
    sp_tokenizer *tokenizer = load_tokenizer("llama3");
    for (size_t i = 0; i < 3; i++) {
        sp_chat_turn turn = {0};
        assert_int_equal(sp_chat_turn_encode(&turn, find("llama3"), tokenizer, prompts[i]), SP_OK);
        assert_int_equal(turn.prompt.n > 0 ? turn.prompt.ends[turn.prompt.n - 1] : 0, n_trimmed[i]);
        sp_chat_turn_free(&turn);
    }
    sp_tokenizer_destroy(tokenizer);
}

static void a_tokenizer_without_the_tokens_is_refused(void **state) {
    sp_tokenizer *tokenizer = load_tokenizer("qwen2.5");
    sp_chat_turn turn = {0};
    assert_int_equal(sp_chat_turn_encode(&turn, find("phi3"), tokenizer, "x"), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'<|user|>'"));
    assert_int_equal(sp_chat_turn_encode(&turn, find("mistral-v1"), tokenizer, "x"), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'</s>'"));
    assert_null(turn.before.ids);
    sp_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_those_of_transformers),
        cmocka_unit_test(models_are_recognised_by_their_tokens),
        cmocka_unit_test(a_prompt_cannot_end_its_turn),
        cmocka_unit_test(white_space_goes_where_the_template_trims),
        cmocka_unit_test(a_tokenizer_without_the_tokens_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
