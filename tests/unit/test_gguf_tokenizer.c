#include "tests/check.h"

#include "io/model_source.h"
#include "tests/gguf_image.h"
#include "tests/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

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
                         strcmp(name, "llama-bpe") == 0);
        json_decref(made);
    }
    json_decref(expected);
}

static void unknown_tokenizers_are_refused_by_name(void **state) {
    static const struct {
        const char *model, *pre, *word;
    } bad[] = {{"llama", NULL, "'llama'"},
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

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, temp_file_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ggufs_tokenizer_is_the_folders),
                                       WITH_FOLDER(tokenizer_json_alone_is_enough),
                                       WITH_FOLDER(pre_tokenizers_are_those_of_tokenizers),
                                       WITH_FOLDER(unknown_tokenizers_are_refused_by_name),
                                       WITH_FOLDER(tokenizer_lists_that_do_not_fit_are_refused)};
    return cmocka_run_group_tests_name("gguf_tokenizer", tests, NULL, NULL);
}
