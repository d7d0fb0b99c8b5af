#include "tests/check.h"

#include "model/model_config.h"

#include <stdio.h>
#include <stdlib.h>

/* A complete config.json of the older dialect, whose members `changes` (an object) replaces; a
   change to the string "absent" takes the member away. */
static json_t *config_with(const char *changes) {
    json_t *config = json_loads(
        "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": 48,"
        " \"num_hidden_layers\": 3, \"num_attention_heads\": 6, \"num_key_value_heads\": 2,"
        " \"intermediate_size\": 70, \"vocab_size\": 300, \"max_position_embeddings\": 512,"
        " \"rms_norm_eps\": 1e-5, \"rope_theta\": 20000.0, \"rope_scaling\": null,"
        " \"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\","
        " \"bos_token_id\": 1, \"eos_token_id\": 2}",
        0, NULL);
    json_t *change = json_loads(changes, 0, NULL), *value;
    const char *key;
    assert_non_null(config);
    if (change == NULL) fail_msg("not JSON: %s", changes);
    json_object_foreach(change, key, value) {
        const char *text = json_string_value(value);
        if (text != NULL && strcmp(text, "absent") == 0)
            json_object_del(config, key);
        else
            json_object_set(config, key, value);
    }
    json_decref(change);
    return config;
}

static sp_model_config read(const char *changes) {
    json_t *json = config_with(changes);
    sp_model_config config = {0};
    if (sp_model_config_read(&config, json, "m/config.json") != SP_OK)
        fail_msg("%s: %s", changes, sp_message());
    json_decref(json);
    return config;
}

/* Refused with a message that names the file and `words`; the output stays as it was. */
static void assert_refused(const char *changes, const char *words) {
    json_t *json = config_with(changes);
    sp_model_config config = {.d_model = 77};
    const sp_status status = sp_model_config_read(&config, json, "m/config.json");
    if (status != SP_BAD_DATA) fail_msg("%s gives %d", changes, (int)status);
    if (strstr(sp_message(), words) == NULL || strstr(sp_message(), "m/config.json") == NULL)
        fail_msg("%s: no \"%s\" in: %s", changes, words, sp_message());
    assert_int_equal(config.d_model, 77);
    json_decref(json);
}

static void the_older_dialect_is_read(void **state) {
    const sp_model_config c = read("{}");
    assert_string_equal(c.family->name, "llama");
    assert_int_equal(c.d_model, 48);
    assert_int_equal(c.n_layers, 3);
    assert_int_equal(c.n_heads, 6);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.d_ffn, 70);
    assert_int_equal(c.vocab_size, 300);
    assert_int_equal(c.max_positions, 512);
    assert_true(c.rope_theta == 20000 && c.norm_eps == 1e-5);
    assert_int_equal(c.rope_scaling.kind, SP_ROPE_DEFAULT);
    assert_true(c.tie_word_embeddings);
    assert_int_equal(c.bos_token_id, 1);
    assert_int_equal(c.eos_token_id, 2);
    assert_int_equal(sp_q_width(&c), 48);
    assert_int_equal(sp_kv_width(&c), 16);
}

static void the_newer_dialect_is_read(void **state) {
    const sp_model_config c =
        read("{\"rope_theta\": \"absent\", \"rope_scaling\": \"absent\", \"torch_dtype\": "
             "\"absent\", \"dtype\": \"bfloat16\", \"rope_parameters\": {\"rope_type\": "
             "\"default\", \"rope_theta\": 30000}}");
    assert_true(c.rope_theta == 30000);
    assert_int_equal(c.rope_scaling.kind, SP_ROPE_DEFAULT);
}

#define LLAMA3                                                               \
    "\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, " \
    "\"original_max_position_embeddings\": 64"

static void llama3_scaling_is_read_in_each_spelling(void **state) {
    static const char *const spellings[] = {
        "{\"rope_scaling\": {\"type\": \"llama3\", " LLAMA3 "}}",
        "{\"rope_scaling\": {\"rope_type\": \"llama3\", " LLAMA3 "}}",
        "{\"rope_scaling\": {\"rope_type\": \"llama3\", \"type\": \"llama3\", " LLAMA3 "}}",
        "{\"rope_theta\": \"absent\", \"rope_scaling\": \"absent\", \"rope_parameters\": "
        "{\"rope_type\": \"llama3\", \"rope_theta\": 20000.0, " LLAMA3 "}}",
        "{\"rope_parameters\": null, \"rope_scaling\": {\"type\": \"llama3\", " LLAMA3 "}}"};
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        const sp_model_config c = read(spellings[i]);
        assert_true(c.rope_scaling.kind == SP_ROPE_LLAMA3 && c.rope_theta == 20000);
        assert_true(c.rope_scaling.factor == 8 && c.rope_scaling.low_freq_factor == 1);
        assert_true(c.rope_scaling.high_freq_factor == 4);
        assert_int_equal(c.rope_scaling.original_max_position_embeddings, 64);
    }
}

/* transformers' own defaults for Llama. */
static void absent_and_null_stand_for_the_default(void **state) {
    static const char *const values[] = {"\"absent\"", "null"};
    for (size_t i = 0; i < 2; i++) {
        char changes[1024];
        const char *v = values[i];
        snprintf(changes, sizeof changes,
                 "{\"hidden_act\": %s, \"num_key_value_heads\": %s, \"head_dim\": %s,"
                 " \"max_position_embeddings\": %s, \"rms_norm_eps\": %s, \"rope_theta\": %s,"
                 " \"rope_scaling\": %s, \"rope_parameters\": %s, \"tie_word_embeddings\": %s,"
                 " \"bos_token_id\": %s, \"eos_token_id\": %s, \"attention_bias\": %s}",
                 v, v, v, v, v, v, v, v, v, v, v, v);
        const sp_model_config c = read(changes);
        assert_int_equal(c.n_kv_heads, 6);
        assert_int_equal(c.head_dim, 8);
        assert_int_equal(c.max_positions, 2048);
        assert_true(c.norm_eps == 1e-6 && c.rope_theta == 10000);
        assert_int_equal(c.rope_scaling.kind, SP_ROPE_DEFAULT);
        assert_true(!c.tie_word_embeddings && c.may_tie_word_embeddings);
        assert_int_equal(c.bos_token_id, SP_NO_TOKEN);
        assert_int_equal(c.eos_token_id, SP_NO_TOKEN);
    }
}

static void kv_heads_of_null_are_as_many_as_heads(void **state) {
    sp_model_config c = read("{\"model_type\": \"qwen2\", \"num_key_value_heads\": null}");
    assert_int_equal(c.n_kv_heads, 6);
    c = read("{\"model_type\": \"qwen2\", \"num_attention_heads\": 32, \"hidden_size\": 64,"
             " \"num_key_value_heads\": \"absent\"}");
    assert_int_equal(c.n_kv_heads, 32);
}

static void of_two_scalings_the_older_wins(void **state) {
    const sp_model_config c =
        read("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0},"
             " \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5.0}}");
    assert_true(c.rope_scaling.kind == SP_ROPE_LINEAR && c.rope_theta == 20000);
}

static void head_dim_may_differ_from_its_share(void **state) {
    const sp_model_config c = read("{\"head_dim\": 10}");
    assert_int_equal(c.head_dim, 10);
    assert_int_equal(sp_q_width(&c), 60);
    assert_int_equal(sp_kv_width(&c), 20);
}

static void special_tokens_are_an_id_a_list_or_none(void **state) {
    assert_int_equal(read("{\"eos_token_id\": [5, 7]}").eos_token_id, 5);
    assert_int_equal(read("{\"eos_token_id\": []}").eos_token_id, SP_NO_TOKEN);
    assert_int_equal(read("{\"eos_token_id\": -1}").eos_token_id, SP_NO_TOKEN);
    assert_int_equal(read("{\"bos_token_id\": [3]}").bos_token_id, 3);
    assert_int_equal(read("{\"bos_token_id\": 0}").bos_token_id, 0);
    assert_int_equal(read("{\"bos_token_id\": 299}").bos_token_id, 299);
    assert_refused("{\"bos_token_id\": 300}", "bos_token_id");
    assert_refused("{\"eos_token_id\": [300]}", "eos_token_id");
    assert_refused("{\"eos_token_id\": \"</s>\"}", "eos_token_id");
    assert_refused("{\"eos_token_id\": 2.5}", "eos_token_id");
}

#define GPT2                                                                     \
    "{\"model_type\": \"gpt2\", \"n_embd\": 15, \"n_layer\": 2, \"n_head\": 3, " \
    "\"num_key_value_heads\": null, \"tie_word_embeddings\": \"absent\""

static void gpt2_has_keys_and_defaults_of_its_own(void **state) {
    const sp_model_config c = read(GPT2 "}");
    assert_int_equal(c.d_model, 15);
    assert_int_equal(c.head_dim, 5);
    assert_int_equal(c.d_ffn, 60);
    assert_int_equal(c.max_positions, 1024);
    assert_int_equal(c.rotary_dim, 0);
    assert_true(c.tie_word_embeddings && c.norm_eps == 1e-5);
    assert_int_equal(sp_matrix_n_out(&c, SP_ROLE_Q), 45);
    assert_int_equal(sp_matrix_n_out(&c, SP_ROLE_K), 0);
    assert_int_equal(sp_matrix_n_out(&c, SP_ROLE_GATE), 0);
    assert_int_equal(sp_matrix_n_out(&c, SP_ROLE_UP), 60);
    assert_true(c.has_bias[SP_ROLE_Q] && c.has_bias[SP_ROLE_DOWN]);
    assert_int_equal(read(GPT2 ", \"n_inner\": 33}").d_ffn, 33);
    assert_refused(GPT2 ", \"n_head\": 4}", "heads");
}

static void windows_are_where_the_family_has_them(void **state) {
    assert_int_equal(read("{\"sliding_window\": 7}").window, 0);
    sp_model_config c = read("{\"model_type\": \"mistral\", \"sliding_window\": 7}");
    assert_true(c.window == 7 && c.has_window[0] && c.has_window[2]);
    assert_int_equal(read("{\"model_type\": \"mistral\", \"sliding_window\": null}").window, 0);
    assert_int_equal(read("{\"model_type\": \"mistral\"}").window, 4096);
    assert_int_equal(read("{\"model_type\": \"phi3\"}").window, 0);
    assert_int_equal(read("{\"model_type\": \"qwen2\", \"sliding_window\": 7}").window, 0);
    c = read("{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 7,"
             " \"max_window_layers\": 2}");
    assert_true(c.window == 7 && !c.has_window[1] && c.has_window[2]);
    c = read("{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 7,"
             " \"layer_types\": [\"sliding_attention\", \"full_attention\", \"full_attention\"]}");
    assert_true(c.window == 7 && c.has_window[0] && !c.has_window[2]);
}

#define LISTS "\"short_factor\": [1.0, 1.5], \"long_factor\": [2.0, 4]"

static void longrope_is_read_in_each_spelling(void **state) {
    static const char *const spellings[] = {
        "{\"model_type\": \"phi3\", \"partial_rotary_factor\": 0.5, \"rope_scaling\": {\"type\":"
        " \"longrope\", " LISTS "}, \"original_max_position_embeddings\": 64}",
        "{\"model_type\": \"phi3\", \"partial_rotary_factor\": 0.5, \"rope_scaling\": {\"type\":"
        " \"su\", " LISTS "}, \"original_max_position_embeddings\": 64}",
        "{\"model_type\": \"phi3\", \"rope_scaling\": \"absent\", \"rope_parameters\": {"
        "\"rope_type\": \"longrope\", " LISTS ", \"partial_rotary_factor\": 0.5, \"rope_theta\": 5,"
        " \"original_max_position_embeddings\": 64}}"};
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        const sp_model_config c = read(spellings[i]);
        assert_int_equal(c.rotary_dim, 4);
        assert_int_equal(sp_longrope_switch(&c), 64);
        assert_true(c.rope_scaling.short_factor[1] == 1.5F && c.rope_scaling.long_factor[1] == 4);
        assert_close(c.rope_scaling.attention_factor, sqrt(1 + log(512.0 / 64) / log(64)), 1e-12);
    }
    assert_refused("{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"longrope\", " LISTS
                   "}}",
                   "short_factor");
    assert_refused("{\"rope_parameters\": {\"rope_type\": \"longrope\"}}", "short_factor");
}

static void yarn_and_linear_scaling_are_read(void **state) {
    sp_model_config c = read("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}}");
    assert_true(c.rope_scaling.kind == SP_ROPE_LINEAR && c.rope_scaling.factor == 2);
    c = read("{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
             "\"original_max_position_embeddings\": 128}}");
    assert_true(c.rope_scaling.kind == SP_ROPE_YARN && c.rope_scaling.beta_fast == 32);
    assert_close(c.rope_scaling.attention_factor, 0.1 * log(4) + 1, 1e-12);
    assert_refused("{\"rope_scaling\": {\"type\": \"linear\"}}", "factor");
    assert_refused("{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0.1}}", "yarn");
}

static void what_is_not_supported_is_refused_by_name(void **state) {
    assert_refused("{\"model_type\": \"opt\"}", "'opt'");
    assert_refused("{\"model_type\": \"Llama\"}", "'Llama'");
    assert_refused("{\"model_type\": \"absent\"}", "model_type");
    assert_refused("{\"model_type\": 7}", "model_type");
    assert_refused("{\"hidden_act\": \"gelu_new\"}", "'gelu_new'");
    assert_refused("{\"model_type\": \"mistral\", \"attention_bias\": true}", "attention_bias");
    assert_refused("{\"model_type\": \"qwen2\", \"mlp_bias\": true}", "mlp_bias");
    assert_refused("{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4.0}}", "'dynamic'");
    assert_refused("{\"rope_scaling\": {\"type\": \"su\"}}", "'su'");
    assert_refused("{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor");
    assert_refused(GPT2 ", \"scale_attn_by_inverse_layer_idx\": true}",
                   "scale_attn_by_inverse_layer_idx");
    assert_refused(GPT2 ", \"activation_function\": \"relu\"}", "'relu'");
    assert_refused("{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"layer_types\": "
                   "[\"full_attention\", \"chunked_attention\", \"full_attention\"]}",
                   "chunked_attention");
}

static void impossible_scaling_is_refused(void **state) {
    static const char *const bad[] = {
        "{\"rope_scaling\": \"llama3\"}",
        "{\"rope_scaling\": {\"type\": \"llama3\"}}",
        "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4,"
        " \"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}}",
        "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 0.5, \"low_freq_factor\": 1,"
        " \"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}}",
        "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1,"
        " \"high_freq_factor\": 4, \"original_max_position_embeddings\": 0}}",
        "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1,"
        " \"high_freq_factor\": 4, \"original_max_position_embeddings\": 1e300}}",
        "{\"rope_theta\": 0}",
        "{\"rope_theta\": -1}",
        "{\"rope_theta\": \"10000\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_refused(bad[i], "rope");
}

/* Every size: absent, of another type, none, below none, and beyond all models. */
static void impossible_sizes_are_refused_by_key(void **state) {
    static const char *const keys[] = {"hidden_size", "num_hidden_layers", "num_attention_heads",
                                       "intermediate_size", "vocab_size"};
    static const char *const values[] = {"\"absent\"", "null",     "\"48\"",
                                         "48.5",       "[48]",     "0",
                                         "-1",         "16777217", "4611686018427387904"};
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            char changes[128];
            snprintf(changes, sizeof changes, "{\"%s\": %s}", keys[k], values[v]);
            assert_refused(changes, keys[k]);
        }
}

static void heads_that_do_not_fit_are_refused(void **state) {
    assert_refused("{\"num_key_value_heads\": 0}", "key-value heads");
    assert_refused("{\"num_key_value_heads\": 4}", "key-value heads");
    assert_refused("{\"num_key_value_heads\": 12}", "key-value heads");
    assert_refused("{\"num_key_value_heads\": -2}", "num_key_value_heads");
    assert_refused("{\"head_dim\": 7}", "head_dim");
    assert_refused("{\"head_dim\": 0}", "head_dim");
    assert_refused("{\"head_dim\": 4611686018427387904}", "head_dim");
    assert_refused("{\"num_attention_heads\": 50, \"num_key_value_heads\": 50}", "head_dim");
    assert_refused("{\"hidden_size\": 42}", "head_dim"); /* 42 / 6 is odd */
}

static void norms_and_positions_must_be_possible(void **state) {
    assert_refused("{\"rms_norm_eps\": -1}", "rms_norm_eps");
    assert_refused("{\"rms_norm_eps\": \"small\"}", "rms_norm_eps");
    assert_refused("{\"max_position_embeddings\": 0}", "max_position_embeddings");
    assert_refused("{\"max_position_embeddings\": -5}", "max_position_embeddings");
}

static void what_is_no_object_is_refused(void **state) {
    sp_model_config config = {0};
    json_t *array = json_array();
    assert_int_equal(sp_model_config_read(&config, array, "'x'"), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "'x'"));
    json_decref(array);
}

static void a_cut_config_is_of_fewer_layers(void **state) {
    json_t *json = config_with("{\"model_type\": \"qwen2\", \"layer_types\": [\"full_attention\","
                               " \"full_attention\", \"sliding_attention\"]}");
    sp_model_config config = {0};
    assert_int_equal(sp_model_config_cut(json, 4, "m/config.json"), SP_USAGE);
    assert_non_null(strstr(sp_message(), "which has 3"));
    assert_int_equal(sp_model_config_cut(json, 2, "m/config.json"), SP_OK);
    assert_int_equal(sp_model_config_read(&config, json, "m/config.json"), SP_OK);
    assert_int_equal(config.n_layers, 2);
    assert_int_equal(json_array_size(json_object_get(json, "layer_types")), 2);
    assert_int_equal(sp_model_config_cut(json, 0, "m/config.json"), SP_OK);
    assert_int_equal(sp_model_config_read(&config, json, "m/config.json"), SP_OK);
    assert_int_equal(config.n_layers, 0);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_older_dialect_is_read),
        cmocka_unit_test(a_cut_config_is_of_fewer_layers),
        cmocka_unit_test(the_newer_dialect_is_read),
        cmocka_unit_test(llama3_scaling_is_read_in_each_spelling),
        cmocka_unit_test(absent_and_null_stand_for_the_default),
        cmocka_unit_test(kv_heads_of_null_are_as_many_as_heads),
        cmocka_unit_test(of_two_scalings_the_older_wins),
        cmocka_unit_test(head_dim_may_differ_from_its_share),
        cmocka_unit_test(special_tokens_are_an_id_a_list_or_none),
        cmocka_unit_test(gpt2_has_keys_and_defaults_of_its_own),
        cmocka_unit_test(windows_are_where_the_family_has_them),
        cmocka_unit_test(longrope_is_read_in_each_spelling),
        cmocka_unit_test(yarn_and_linear_scaling_are_read),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(impossible_scaling_is_refused),
        cmocka_unit_test(impossible_sizes_are_refused_by_key),
        cmocka_unit_test(heads_that_do_not_fit_are_refused),
        cmocka_unit_test(norms_and_positions_must_be_possible),
        cmocka_unit_test(what_is_no_object_is_refused),
    };
    return cmocka_run_group_tests_name("model_config", tests, NULL, NULL);
}
