/* One model of each family, as a Hugging Face folder and as a GGUF file, looks the same. */
#include "tests/check.h"

#include "io/gguf.h"
#include "io/model_source.h"
#include "tests/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const families[] = {"gpt2", "llama-biased", "mistral", "qwen2", "phi3"};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static int set_up(void **state) { return temp_file_set_up(state, "a.gguf"); }

static const char *path_of(char path[TEMP_PATH_SIZE], const char *family, const char *ending) {
    snprintf(path, TEMP_PATH_SIZE, "tests/fixtures/model_files/%s%s", family, ending);
    return path;
}

static void open_both(sp_model_source *folder, sp_model_source *gguf, const char *family) {
    char path[TEMP_PATH_SIZE];
    *folder = *gguf = (sp_model_source){0};
    assert_int_equal(sp_model_source_open(folder, path_of(path, family, "")), SP_OK);
    assert_int_equal(sp_model_source_open(gguf, path_of(path, family, ".gguf")), SP_OK);
}

static float *read_all(const sp_tensor *tensor, size_t *n) {
    *n = sp_tensor_n_values(tensor);
    float *values = calloc(*n, sizeof *values);
    assert_non_null(values);
    sp_tensor_read_rows(tensor, values, 0, *n / sp_tensor_row_values(tensor));
    return values;
}

static void every_familys_tensors_are_the_same(void **state) {
    for (size_t f = 0; f < N_FAMILIES; f++) {
        sp_model_source folder, gguf;
        open_both(&folder, &gguf, families[f]);
        const bool has_factors = strcmp(families[f], "phi3") == 0;
        assert_int_equal(gguf.tensors.n_entries, folder.tensors.n_entries + 2 * has_factors);
        for (size_t i = 0; i < folder.tensors.n_entries; i++) {
            const char *name = folder.tensors.entries[i].name;
            const sp_tensor *wanted = &folder.tensors.entries[i].tensor;
            const sp_tensor *tensor = sp_tensor_table_find(&gguf.tensors, name);
            if (tensor == NULL || tensor->n_dims != wanted->n_dims)
                fail_msg("%s: '%s' is missing or differs", families[f], name);
            assert_memory_equal(tensor->shape, wanted->shape, sizeof tensor->shape);
            size_t n = 0;
            float *a = read_all(tensor, &n), *b = read_all(wanted, &n);
            if (memcmp(a, b, n * sizeof *a) != 0) fail_msg("%s: '%s' differs", families[f], name);
            free(b);
            free(a);
        }
        sp_model_source_close(&gguf);
        sp_model_source_close(&folder);
    }
}

static const json_t *member(const sp_model_source *source, const char *key) {
    const json_t *value = json_object_get(source->config, key);
    return value == NULL || json_is_null(value) ? NULL : value;
}

static void every_familys_config_is_the_same(void **state) {
    static const char *const keys[] = {"architectures",
                                       "n_embd",
                                       "n_layer",
                                       "n_head",
                                       "n_positions",
                                       "layer_norm_epsilon",
                                       "activation_function",
                                       "hidden_act",
                                       "hidden_size",
                                       "num_hidden_layers",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "intermediate_size",
                                       "max_position_embeddings",
                                       "partial_rotary_factor",
                                       "rms_norm_eps",
                                       "rope_theta",
                                       "vocab_size",
                                       "bos_token_id",
                                       "eos_token_id"};
    for (size_t f = 0; f < N_FAMILIES; f++) {
        sp_model_source folder, gguf;
        open_both(&folder, &gguf, families[f]);
        const bool is_mistral = strcmp(families[f], "mistral") == 0; /* is GGUF's llama */
        for (size_t k = is_mistral; k < sizeof keys / sizeof keys[0]; k++) {
            const json_t *a = member(&folder, keys[k]), *b = member(&gguf, keys[k]);
            if (a == NULL ? b != NULL : !json_equal(a, b))
                fail_msg("%s: '%s' differs", families[f], keys[k]);
        }
        assert_string_equal(json_string_value(member(&gguf, "model_type")),
                            is_mistral ? "llama"
                                       : json_string_value(member(&folder, "model_type")));
        assert_int_equal(json_is_true(member(&gguf, "tie_word_embeddings")),
                         sp_tensor_table_find(&folder.tensors, "lm_head.weight") == NULL);
        assert_int_equal(folder.n_stop_ids, gguf.n_stop_ids);
        assert_int_equal(folder.stop_ids[0], gguf.stop_ids[0]);
        sp_model_source_close(&gguf);
        sp_model_source_close(&folder);
    }
}

static void what_config_json_leaves_to_a_default_is_said(void **state) {
    sp_model_source folder, gguf;
    open_both(&folder, &gguf, "gpt2");
    assert_int_equal(json_integer_value(member(&gguf, "n_inner")), 48);
    assert_null(member(&gguf, "head_dim"));
    sp_model_source_close(&gguf);
    sp_model_source_close(&folder);
    open_both(&folder, &gguf, "mistral");
    assert_int_equal(json_integer_value(member(&gguf, "head_dim")), 6);
    sp_model_source_close(&gguf);
    sp_model_source_close(&folder);
    open_both(&folder, &gguf, "qwen2");
    assert_int_equal(json_integer_value(member(&gguf, "head_dim")), 4);
    assert_null(member(&gguf, "attention_bias")); /* it always has some */
    assert_null(member(&gguf, "sliding_window"));
    sp_model_source_close(&gguf);
    sp_model_source_close(&folder);
}

static void linear_and_yarn_scalings_go_on(void **state) {
    static const char *const scaled[] = {"llama-biased", "qwen2"};
    for (size_t f = 0; f < 2; f++) {
        sp_model_source folder, gguf;
        open_both(&folder, &gguf, scaled[f]);
        const json_t *scaling = member(&gguf, "rope_scaling");
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(folder.config, "rope_scaling"), key, value)
            assert_true(json_equal(
                json_object_get(scaling, strcmp(key, "type") == 0 ? "rope_type" : key), value));
        sp_model_source_close(&gguf);
        sp_model_source_close(&folder);
    }
}

static void biases_are_said_where_they_may_lack(void **state) {
    static const char *const keys[] = {"attention_bias", "mlp_bias"};
    sp_model_source biased, other, gguf;
    for (size_t k = 0; k < 2; k++) {
        open_both(&biased, &gguf, "llama-biased");
        assert_true(json_is_true(member(&biased, keys[k])) && json_is_true(member(&gguf, keys[k])));
        sp_model_source_close(&gguf);
        sp_model_source_close(&biased);
        open_both(&other, &gguf, "phi3");
        assert_true(json_is_false(member(&gguf, keys[k])));
        sp_model_source_close(&gguf);
        sp_model_source_close(&other);
    }
}

static void longrope_becomes_part_of_the_config(void **state) {
    static const double rounding = 1e-7; /* of f32 */
    sp_model_source folder, gguf;
    open_both(&folder, &gguf, "phi3");
    const json_t *scaling = member(&gguf, "rope_scaling"), *same = member(&folder, "rope_scaling");
    assert_string_equal(json_string_value(json_object_get(scaling, "rope_type")), "longrope");
    assert_true(json_equal(json_object_get(scaling, "short_factor"),
                           json_object_get(same, "short_factor")));
    assert_true(
        json_equal(json_object_get(scaling, "long_factor"), json_object_get(same, "long_factor")));
    assert_close(json_real_value(json_object_get(scaling, "attention_factor")),
                 sqrt(1 + log(64.0 / 16) / log(16)), rounding);
    assert_true(json_equal(json_object_get(scaling, "original_max_position_embeddings"),
                           member(&folder, "original_max_position_embeddings")));
    assert_true(json_equal(member(&gguf, "sliding_window"), member(&folder, "sliding_window")));
    sp_model_source_close(&gguf);
    sp_model_source_close(&folder);
}

/* Bytes of a family's GGUF file, owned, and where its tensors' data begin. */
static char *read_gguf(const char *family, size_t *n_bytes, size_t *n_header) {
    char path[TEMP_PATH_SIZE];
    sp_gguf gguf = {0};
    assert_int_equal(sp_gguf_open(&gguf, path_of(path, family, ".gguf")), SP_OK);
    *n_header = gguf.mapping.n_bytes;
    for (size_t i = 0; i < gguf.tensors.n_entries; i++) {
        const unsigned char *data = gguf.tensors.entries[i].tensor.data;
        const size_t at = (size_t)(data - gguf.mapping.data);
        if (at < *n_header) *n_header = at;
    }
    sp_gguf_close(&gguf);
    return temp_read(path, n_bytes);
}

static void assert_refused(const temp_file *at, const char *bytes, size_t n_bytes,
                           const char *word) {
    sp_model_source source = {0};
    temp_write(at->path, bytes, n_bytes);
    const sp_status status = sp_model_source_open(&source, at->path);
    if (status != SP_BAD_DATA || strstr(sp_message(), word) == NULL)
        fail_msg("status %d, message without '%s': %s", (int)status, word, sp_message());
}

/* Where the text stands in the bytes, its end. */
static char *behind(char *bytes, size_t n_bytes, const char *text) {
    char *found = memmem(bytes, n_bytes, text, strlen(text));
    assert_non_null(found);
    return found + strlen(text);
}

static void heads_that_are_not_rotated_as_far_as_they_go_are_refused(void **state) {
    static const uint32_t counts[] = {0, 10, UINT32_MAX};
    size_t n_bytes = 0, n_header = 0;
    char *bytes = read_gguf("phi3", &n_bytes, &n_header);
    char *count = behind(bytes, n_bytes, "phi3.rope.dimension_count") + sizeof(uint32_t);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        memcpy(count, &counts[i], sizeof counts[i]);
        assert_refused(*state, bytes, n_bytes, "some or all are rotated");
    }
    free(bytes);
    bytes = read_gguf("mistral", &n_bytes, &n_header);
    count = behind(bytes, n_bytes, "llama.rope.dimension_count") + sizeof(uint32_t);
    memcpy(count, &(uint32_t){4}, sizeof(uint32_t));
    assert_refused(*state, bytes, n_bytes, "all are rotated");
    free(bytes);
}

static void factors_that_do_not_fit_the_heads_are_refused(void **state) {
    static const float bad[] = {0, -1, NAN, INFINITY};
    size_t n_bytes = 0, n_header = 0;
    char *bytes = read_gguf("phi3", &n_bytes, &n_header);

    char *count = behind(bytes, n_bytes, "phi3.rope.dimension_count") + sizeof(uint32_t);
    *count = 8; /* of which three are half no more */
    assert_refused(*state, bytes, n_bytes, "rope_factors_short.weight' of 4 values");
    *count = 6;

    static const char *const names[] = {"rope_factors_short.weight", "rope_factors_long.weight"};
    for (size_t i = 0; i < 2; i++) { /* one without the other */
        char *last = behind(bytes, n_bytes, names[i]) - 1;
        *last = 'z';
        assert_refused(*state, bytes, n_bytes, names[i]);
        *last = 't';
    }

    const float factors[] = {1, 2.5F, 7};
    char *long_factors = memmem(bytes + n_header, n_bytes - n_header, factors, sizeof factors);
    assert_non_null(long_factors);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(long_factors + 4, &bad[i], sizeof bad[i]);
        assert_refused(*state, bytes, n_bytes, "'rope_factors_long.weight' holds");
    }
    free(bytes);
}

static void file_of_any_family_cut_anywhere_is_refused(void **state) {
    const temp_file *at = *state;
    for (size_t f = 0; f < N_FAMILIES; f++) {
        size_t n_bytes = 0, n_header = 0;
        char *bytes = read_gguf(families[f], &n_bytes, &n_header);
        for (size_t n = 0; n + 32 < n_bytes; n += n < n_header ? 1 : 97)
            assert_refused(at, bytes, n, at->path);
        free(bytes);
    }
}

static void file_of_any_family_with_any_byte_changed_does_no_harm(void **state) {
    const temp_file *at = *state;
    for (size_t f = 0; f < N_FAMILIES; f++) {
        size_t n_bytes = 0, n_header = 0;
        char *bytes = read_gguf(families[f], &n_bytes, &n_header);
        for (size_t i = 0; i < n_header; i++) {
            const char before = bytes[i];
            sp_model_source source = {0};
            bytes[i] = (char)(before ^ (1 << i % 8));
            temp_write(at->path, bytes, n_bytes);
            bytes[i] = before;
            if (sp_model_source_open(&source, at->path) != SP_OK) continue;
            for (size_t t = 0; t < source.tensors.n_entries; t++) {
                size_t n = 0;
                free(read_all(&source.tensors.entries[t].tensor, &n));
            }
            sp_model_source_close(&source);
        }
        free(bytes);
    }
}

static void every_family_is_described_in_its_own_words(void **state) {
    static const char *const keys[] = {"n_embd", "hidden_size", "hidden_size", "rope_scaling",
                                       "sliding_window"};
    for (size_t f = 0; f < N_FAMILIES; f++)
        for (size_t is_gguf = 0; is_gguf < 2; is_gguf++) {
            char path[TEMP_PATH_SIZE];
            json_t *description = NULL;
            path_of(path, families[f], is_gguf ? ".gguf" : "");
            assert_int_equal(sp_model_source_describe(&description, path), SP_OK);
            assert_non_null(json_object_get(json_object_get(description, "config"), keys[f]));
            json_decref(description);
        }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, temp_file_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_familys_tensors_are_the_same),
        cmocka_unit_test(every_familys_config_is_the_same),
        cmocka_unit_test(what_config_json_leaves_to_a_default_is_said),
        cmocka_unit_test(linear_and_yarn_scalings_go_on),
        cmocka_unit_test(biases_are_said_where_they_may_lack),
        cmocka_unit_test(longrope_becomes_part_of_the_config),
        WITH_FOLDER(heads_that_are_not_rotated_as_far_as_they_go_are_refused),
        WITH_FOLDER(factors_that_do_not_fit_the_heads_are_refused),
        WITH_FOLDER(file_of_any_family_cut_anywhere_is_refused),
        WITH_FOLDER(file_of_any_family_with_any_byte_changed_does_no_harm),
        cmocka_unit_test(every_family_is_described_in_its_own_words)};
    return cmocka_run_group_tests_name("model_families", tests, NULL, NULL);
}
