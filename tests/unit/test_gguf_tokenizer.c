#include "tests/check.h"

#include "io/model_source.h"
#include "tests/gguf_image.h"
#include "tests/temp_folder.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

#define SPACE "\xE2\x96\x81"

static const char *const folder_path = "tests/fixtures/model_files/llama";
static const char *const gguf_path = "tests/fixtures/model_files/llama.gguf";

static int set_up(void **state) { return temp_file_set_up(state, "a.gguf"); }

static void copy_file(const temp_file *at, const char *name, const char *new_name) {
    char from[TEMP_PATH_SIZE], to[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    char *bytes = temp_read(temp_path(from, folder_path, name), &n_bytes);
    temp_write(temp_path(to, at->dir, new_name), bytes, n_bytes);
    free(bytes);
}

static json_t *load_tokenizer(const char *path) {
    json_t *tokenizer = NULL;
    assert_int_equal(sp_tokenizer_json_load(&tokenizer, path), SP_OK);
    return tokenizer;
}

static void assert_same_member(const json_t *a, const json_t *b, const char *key) {
    if (!json_equal(json_object_get(a, key), json_object_get(b, key)))
        fail_msg("'%s' differs", key);
}

static void ggufs_tokenizer_is_the_folders(void **state) {
    json_t *gguf = load_tokenizer(gguf_path), *folder = load_tokenizer(folder_path);
    static const char *const parts[] = {"added_tokens", "normalizer", "pre_tokenizer", "decoder"};
    for (size_t i = 0; i < 4; i++) assert_same_member(gguf, folder, parts[i]);
    const json_t *model = json_object_get(gguf, "model");
    const json_t *wanted = json_object_get(folder, "model");
    assert_same_member(model, wanted, "type");
    assert_same_member(model, wanted, "ignore_merges");
    assert_same_member(model, wanted, "unk_token");
    const json_t *merges = json_object_get(model, "merges");
    const json_t *pairs = json_object_get(wanted, "merges");
    assert_int_equal(json_array_size(merges), json_array_size(pairs));
    for (size_t i = 0; i < json_array_size(pairs); i++) { /* "a b" there, ["a", "b"] here */
        const json_t *pair = json_array_get(pairs, i);
        char text[64];
        snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(pair, 0)),
                 json_string_value(json_array_get(pair, 1)));
        assert_string_equal(json_string_value(json_array_get(merges, i)), text);
    }
    /* tokenizers leaves a token out of "vocab" that is only an added one, or not: both name it. */
    const json_t *vocabulary = json_object_get(model, "vocab");
    const char *spelling;
    json_t *id;
    assert_int_equal(json_object_size(vocabulary), 267);
    json_object_foreach(json_object_get(wanted, "vocab"), spelling, id)
        assert_true(json_equal(json_object_get(vocabulary, spelling), id));

    const json_t *processor = json_object_get(gguf, "post_processor"); /* add_bos_token is set */
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id")),
        "<|begin|>");
    json_decref(folder);
    json_decref(gguf);
}

static void tokenizer_json_alone_is_enough(void **state) {
    const temp_file *at = *state;
    char path[TEMP_PATH_SIZE];
    copy_file(at, "tokenizer.json", "tokenizer.json");
    json_t *of_folder = load_tokenizer(at->dir);
    json_t *of_file = load_tokenizer(temp_path(path, at->dir, "tokenizer.json"));
    assert_true(json_equal(of_folder, of_file));
    json_decref(of_file);
    json_decref(of_folder);
}

/* A file of a tokenizer only; NULL leaves a field out. */
static void write_tokenizer(const temp_file *at, const char *model, const char *pre) {
    static const char *const tokens[] = {"a", "b", "ab", "<s>"}, *const merges[] = {"a b"};
    gguf_image image = {0};
    gguf_header(&image, 3, 0, 2u + (model != NULL) + (pre != NULL));
    if (model != NULL) gguf_string_field(&image, "tokenizer.ggml.model", model);
    if (pre != NULL) gguf_string_field(&image, "tokenizer.ggml.pre", pre);
    gguf_strings_field(&image, "tokenizer.ggml.tokens", tokens, 4);
    gguf_strings_field(&image, "tokenizer.ggml.merges", merges, 1);
    temp_write(at->path, image.bytes, image.n_bytes);
}

static void pre_tokenizers_are_those_of_tokenizers(void **state) {
    const temp_file *at = *state;
    json_t *expected = NULL, *pre_tokenizer;
    const char *name;
    assert_int_equal(sp_json_load_file(&expected, "tests/fixtures/model_files/pre_tokenizers.json"),
                     SP_OK);
    json_object_foreach(expected, name, pre_tokenizer) {
        write_tokenizer(at, "gpt2", name);
        json_t *made = load_tokenizer(at->path);
        if (!json_equal(json_object_get(made, "pre_tokenizer"), pre_tokenizer))
            fail_msg("'%s' differs", name);
        const char *normalizer =
            json_string_value(json_object_get(json_object_get(made, "normalizer"), "type"));
        assert_int_equal(normalizer != NULL, strcmp(name, "qwen2") == 0);
        const json_t *model = json_object_get(made, "model");
        assert_int_equal(json_is_true(json_object_get(model, "ignore_merges")),
                         strcmp(name, "llama-bpe") == 0 || strcmp(name, "tekken") == 0);
        json_decref(made);
    }
    json_decref(expected);
}

static void unknown_tokenizers_are_refused_by_name(void **state) {
    static const struct {
        const char *model, *pre, *word;
    } bad[] = {{"t5", NULL, "'t5'"},
               {"bert", "smollm", "'bert'"},
               {"gpt2", "falcon", "'falcon'"},
               {"gpt2", "", "''"},
               {NULL, "smollm", "tokenizer.ggml.model"}};
    const temp_file *at = *state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *tokenizer = NULL;
        write_tokenizer(at, bad[i].model, bad[i].pre);
        assert_int_equal(sp_tokenizer_json_load(&tokenizer, at->path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), bad[i].word));
        assert_null(tokenizer);
    }
}

static void tokenizer_lists_that_do_not_fit_are_refused(void **state) {
    static const char *const tokens[] = {"a", "b", "a"}, *const bytes[] = {"a", "\xff"};
    static const uint32_t numbers[] = {1, 1};
    const temp_file *at = *state;
    gguf_image image[5] = {{.n_bytes = 0}};
    for (size_t i = 0; i < 5; i++) {
        gguf_header(&image[i], 3, 0, i == 0 ? 2 : i == 2 ? 4 : 3);
        gguf_string_field(&image[i], "tokenizer.ggml.model", "gpt2");
        if (i != 1) gguf_strings_field(&image[i], "tokenizer.ggml.merges", NULL, 0);
    }
    /* no tokens; no merges; two types of three tokens; a token twice; one that is not UTF-8 */
    gguf_strings_field(&image[1], "tokenizer.ggml.tokens", tokens, 2);
    gguf_u32_field(&image[1], "some.thing", 1);
    gguf_strings_field(&image[2], "tokenizer.ggml.tokens", tokens + 1, 2);
    gguf_u32s_field(&image[2], "tokenizer.ggml.token_type", numbers, 1);
    gguf_strings_field(&image[3], "tokenizer.ggml.tokens", tokens, 3);
    gguf_strings_field(&image[4], "tokenizer.ggml.tokens", bytes, 2);
    static const char *const words[] = {"ggml.tokens", "ggml.merges", "types", "'a' stands twice",
                                        "UTF-8"};
    for (size_t i = 0; i < 5; i++) {
        json_t *tokenizer = NULL;
        temp_write(at->path, image[i].bytes, image[i].n_bytes);
        assert_int_equal(sp_tokenizer_json_load(&tokenizer, at->path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), words[i]));
        assert_null(tokenizer);
    }
}

/* SentencePiece's kind: scores, and token types 2 unknown, 3 control, 6 byte. */
static void write_sentencepiece(const temp_file *at, const char *architecture, uint8_t adds_prefix,
                                const float *scores, size_t n_scores) {
    static const char *const tokens[] = {
        "<unk>", "<s>", "</s>",    "<0x0A>", SPACE,           "a",       "b", "c",
        "ab",    "bc",  SPACE "a", "abc",    "<|endoftext|>", "\xC3\xA9"};
    static const uint32_t types[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1};
    gguf_image image = {0};
    gguf_header(&image, 3, 0, 6);
    gguf_string_field(&image, "general.architecture", architecture);
    gguf_string_field(&image, "tokenizer.ggml.model", "llama");
    gguf_bool_field(&image, "tokenizer.ggml.add_space_prefix", adds_prefix);
    gguf_strings_field(&image, "tokenizer.ggml.tokens", tokens, sizeof tokens / sizeof *tokens);
    gguf_u32s_field(&image, "tokenizer.ggml.token_type", types, sizeof types / sizeof *types);
    gguf_f32s_field(&image, "tokenizer.ggml.scores", scores, n_scores);
    temp_write(at->path, image.bytes, image.n_bytes);
}

static const float scores[] = {0, 0, 0, 0, -9, -9, -9, -9, -2, -1, -3, -4, 0, -9};
enum { N_SCORES = sizeof scores / sizeof *scores };

static void scores_become_merges(void **state) {
    const temp_file *at = *state;
    write_sentencepiece(at, "llama", 1, scores, N_SCORES);
    json_t *tokenizer = load_tokenizer(at->path);
    json_t *expected = json_pack("[[s, s], [s, s], [s, s], [s, s], [s, s]]", "b", "c", "a", "b",
                                 SPACE, "a", "ab", "c", "a", "bc");
    const json_t *model = json_object_get(tokenizer, "model");
    assert_true(json_equal(json_object_get(model, "merges"), expected));
    assert_true(json_is_true(json_object_get(model, "byte_fallback")));
    assert_string_equal(json_string_value(json_object_get(model, "unk_token")), "<unk>");
    assert_int_equal(json_array_size(json_object_get(tokenizer, "added_tokens")), 4);
    json_decref(expected);
    json_decref(tokenizer);
}

static void sentencepiece_is_read_as_the_llama_2_kind(void **state) {
    const temp_file *at = *state;
    static const char text[] = "abc \n\xC3\xA9";
    for (uint8_t adds_prefix = 0; adds_prefix < 2; adds_prefix++) {
        const int32_t with[] = {10, 9, 4, 3, 13}, without[] = {11, 4, 3, 13};
        write_sentencepiece(at, "llama", adds_prefix, scores, N_SCORES);
        json_t *json = load_tokenizer(at->path);
        sp_tokenizer *tokenizer = NULL;
        sp_encoding encoding = {0};
        char *decoded = NULL;
        size_t n_bytes = 0;
        assert_int_equal(sp_tokenizer_create(&tokenizer, json, at->path), SP_OK);
        assert_int_equal(sp_tokenizer_encode(tokenizer, &encoding, text, sizeof text - 1,
                                             (sp_encode_options){0}),
                         SP_OK);
        assert_int_equal(encoding.n, adds_prefix ? 5 : 4);
        const int32_t *expected = adds_prefix ? with : without;
        assert_memory_equal(encoding.ids, expected, encoding.n * sizeof *expected);
        assert_int_equal(sp_tokenizer_decode(tokenizer, &decoded, &n_bytes, encoding.ids,
                                             encoding.n, (sp_decode_options){0}),
                         SP_OK);
        assert_string_equal(decoded, text);
        free(decoded);
        sp_encoding_free(&encoding);
        sp_tokenizer_destroy(tokenizer);
        json_decref(json);
    }
}

static void phi_3s_tokens_take_the_white_space_behind_them(void **state) {
    const temp_file *at = *state;
    static const char *const architectures[] = {"llama", "phi3"};
    for (size_t a = 0; a < 2; a++) {
        write_sentencepiece(at, architectures[a], 1, scores, N_SCORES);
        json_t *tokenizer = load_tokenizer(at->path);
        const json_t *token;
        size_t i;
        json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, token) {
            const char *content = json_string_value(json_object_get(token, "content"));
            assert_int_equal(json_is_true(json_object_get(token, "rstrip")),
                             a == 1 && strcmp(content, "</s>") == 0);
        }
        json_decref(tokenizer);
    }
}

static void scores_that_do_not_fit_are_refused(void **state) {
    const temp_file *at = *state;
    json_t *tokenizer = NULL;
    write_sentencepiece(at, "llama", 1, scores, N_SCORES - 1);
    assert_int_equal(sp_tokenizer_json_load(&tokenizer, at->path), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "13 token scores for 14 tokens"));
    write_tokenizer(at, "llama", NULL);
    assert_int_equal(sp_tokenizer_json_load(&tokenizer, at->path), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "tokenizer.ggml.scores"));
    assert_null(tokenizer);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, temp_file_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ggufs_tokenizer_is_the_folders),
                                       WITH_FOLDER(tokenizer_json_alone_is_enough),
                                       WITH_FOLDER(pre_tokenizers_are_those_of_tokenizers),
                                       WITH_FOLDER(unknown_tokenizers_are_refused_by_name),
                                       WITH_FOLDER(tokenizer_lists_that_do_not_fit_are_refused),
                                       WITH_FOLDER(scores_become_merges),
                                       WITH_FOLDER(sentencepiece_is_read_as_the_llama_2_kind),
                                       WITH_FOLDER(phi_3s_tokens_take_the_white_space_behind_them),
                                       WITH_FOLDER(scores_that_do_not_fit_are_refused)};
    return cmocka_run_group_tests_name("gguf_tokenizer", tests, NULL, NULL);
}
