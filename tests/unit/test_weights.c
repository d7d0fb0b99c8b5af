/* Frozen weights found among a model's tensors: what is missing or of another shape is refused. */
#include "model/weights.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

#include <string.h>

static const tiny_shape shape = {.d_model = 6,
                                 .n_layers = 1,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 4,
                                 .d_ffn = 5,
                                 .vocab_size = 9,
                                 .is_tied = true};

/* Loads a model that has no lm_head.weight under a config that has `key` set to `value`. */
static sp_status load_with(const char *key, json_t *value, sp_weights_part part) {
    tiny_model model;
    sp_weights weights = {0};
    tiny_model_create(&model, &shape, 1, SP_WEIGHTS_BODY);
    assert_int_equal(json_object_set_new(model.config, key, value), 0);
    const sp_status status =
        sp_weights_load(&weights, &model.tensors, model.config, SP_PRECISION_F32, part, "tiny");
    sp_weights_free(&weights);
    tiny_model_release(&model);
    return status;
}

static void tied_model_needs_no_head(void **state) {
    assert_int_equal(load_with("tie_word_embeddings", json_true(), SP_WEIGHTS_ALL), SP_OK);
}

static void untied_model_without_its_head_is_refused(void **state) {
    assert_int_equal(load_with("tie_word_embeddings", json_false(), SP_WEIGHTS_ALL), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "lm_head.weight"));
}

static void encoder_needs_no_head(void **state) {
    assert_int_equal(load_with("tie_word_embeddings", json_false(), SP_WEIGHTS_BODY), SP_OK);
}

static void config_of_another_size_is_refused(void **state) {
    assert_int_equal(load_with("vocab_size", json_integer(10), SP_WEIGHTS_ALL), SP_BAD_DATA);
    assert_int_equal(load_with("intermediate_size", json_integer(4), SP_WEIGHTS_ALL), SP_BAD_DATA);
    assert_int_equal(load_with("num_hidden_layers", json_integer(2), SP_WEIGHTS_ALL), SP_BAD_DATA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tied_model_needs_no_head),
        cmocka_unit_test(untied_model_without_its_head_is_refused),
        cmocka_unit_test(encoder_needs_no_head),
        cmocka_unit_test(config_of_another_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
