#include "tests/check.h"

#include "model/layer_block.h"
#include "model/transformer.h"
#include "tests/gradient/differences.h"
#include "tests/tiny_model.h"
#include "tests/values.h"

#include <string.h>

/* Nothing is a multiple of a vector; q is wider than the model. */
static const tiny_shape shapes[] = {
    {.d_model = 9,
     .n_layers = 1,
     .n_heads = 6,
     .n_kv_heads = 2,
     .head_dim = 2,
     .d_ffn = 11,
     .vocab_size = 5},
    {.d_model = 13,
     .n_layers = 1,
     .n_heads = 3,
     .n_kv_heads = 3,
     .head_dim = 6,
     .d_ffn = 7,
     .vocab_size = 5},
    /* LayerNorm, biases, one matrix for q, k and v, GELU; heads of an odd width */
    {.family = "gpt2",
     .d_model = 9,
     .n_layers = 1,
     .n_heads = 3,
     .n_kv_heads = 3,
     .head_dim = 3,
     .d_ffn = 11,
     .vocab_size = 5},
    /* a window that ends within the prefix of a branch, and within the branch */
    {.family = "mistral",
     .d_model = 9,
     .n_layers = 1,
     .n_heads = 2,
     .n_kv_heads = 1,
     .head_dim = 4,
     .d_ffn = 11,
     .vocab_size = 5,
     .options = "{\"sliding_window\": 3}"},
    {.family = "qwen2",
     .d_model = 8,
     .n_layers = 1,
     .n_heads = 2,
     .n_kv_heads = 1,
     .head_dim = 4,
     .d_ffn = 9,
     .vocab_size = 5},
    {.family = "llama",
     .d_model = 8,
     .n_layers = 1,
     .n_heads = 2,
     .n_kv_heads = 2,
     .head_dim = 4,
     .d_ffn = 9,
     .vocab_size = 5,
     .options = "{\"attention_bias\": true, \"mlp_bias\": true, \"rope_scaling\": {\"type\": "
                "\"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 16}}"},
    /* fused matrices, a part of each head rotated; the first family of the batch is long */
    {.family = "phi3",
     .d_model = 8,
     .n_layers = 1,
     .n_heads = 3,
     .n_kv_heads = 1,
     .head_dim = 6,
     .d_ffn = 9,
     .vocab_size = 5,
     .options = "{\"partial_rotary_factor\": 0.7, \"original_max_position_embeddings\": 5,"
                " \"max_position_embeddings\": 20, \"rope_scaling\": {\"type\": \"longrope\","
                " \"short_factor\": [1.0, 1.2], \"long_factor\": [1.5, 3.0]}}"},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

enum { N_ROWS = 12, MAX_D = 13 };

static void add_rows(sp_batch *batch, int32_t parent, size_t n_rows) {
    int32_t seq = 0;
    const uint64_t sample = 1000 + batch->rows[SP_DECODER].n_seqs;
    assert_int_equal(sp_batch_add_seq(batch, SP_DECODER, parent, sample, &seq), SP_OK);
    for (size_t r = 0; r < n_rows; r++)
        assert_int_equal(sp_batch_add_row(batch, SP_DECODER, 0), SP_OK);
}

/* A prefix with two branches, a prefix with one, a single row. */
static void fill_batch(sp_batch *batch) {
    *batch = (sp_batch){.is_training = true};
    add_rows(batch, SP_NO_PARENT, 3);
    add_rows(batch, 0, 3);
    add_rows(batch, 0, 2);
    add_rows(batch, SP_NO_PARENT, 1);
    add_rows(batch, 3, 2);
    add_rows(batch, SP_NO_PARENT, 1);
    assert_int_equal(batch->rows[SP_DECODER].n_rows, N_ROWS);
}

/* Parameters that are not the layer's must get no gradient. */
static void freeze_all_but_layers(const sp_params *params) {
    for (size_t i = 0; i < params->n_entries; i++)
        params->entries[i]->is_frozen = strstr(params->entries[i]->name, ".layers.") == NULL &&
                                        strstr(params->entries[i]->name, ".h.") == NULL;
}

static void check(const tiny_shape *shape, sp_training training, double dropout) {
    tiny_model model;
    tiny_model_create(&model, shape, 3,
                      training == SP_TRAIN_FULL ? SP_WEIGHTS_FRAME : SP_WEIGHTS_BODY);
    sp_lora_options lora = {.rank = 2, .alpha = 3, .dropout = dropout};
    for (sp_role role = 0; role < SP_N_ROLES; role++) lora.targets[role] = true;
    sp_params params = {0};
    sp_transformer *transformer = NULL;
    assert_int_equal(sp_transformer_create(
                         &transformer, &model.weights,
                         &(sp_transformer_options){
                             .training = training, .lora = &lora, .prefix = "", .first_module = 5},
                         &params),
                     SP_OK);
    assert_int_equal(sp_params_allocate(&params), SP_OK);
    assert_int_equal(sp_transformer_bind(transformer, 1, &model.tensors, "tiny"), SP_OK);
    fill_params(&params, 40);
    freeze_all_but_layers(&params);

    sp_batch batch;
    sp_block *block = NULL;
    float x[N_ROWS * MAX_D];
    fill_batch(&batch);
    assert_int_equal(sp_transformer_prepare(transformer, &batch.rows[SP_DECODER]), SP_OK);
    fill_values(x, N_ROWS * MAX_D, 8);
    assert_int_equal(sp_layer_block_create(&block, &transformer->layers[0], SP_DECODER), SP_OK);
    check_block(block, &batch, x, N_ROWS, &params);

    block->kind->destroy(block);
    sp_batch_free(&batch);
    sp_transformer_destroy(transformer);
    sp_params_free(&params);
    tiny_model_release(&model);
}

static void frozen_layers_pass_the_gradient_on(void **state) {
    for (size_t i = 0; i < N_SHAPES; i++) check(&shapes[i], SP_TRAIN_NONE, 0);
}

static void adapters_with_dropout_get_their_differences(void **state) {
    for (size_t i = 0; i < N_SHAPES; i++) check(&shapes[i], SP_TRAIN_LORA, 0.3);
}

static void adapters_without_dropout_get_their_differences(void **state) {
    for (size_t i = 0; i < N_SHAPES; i++) check(&shapes[i], SP_TRAIN_LORA, 0);
}

static void trained_weights_and_norms_get_their_differences(void **state) {
    for (size_t i = 0; i < N_SHAPES; i++) check(&shapes[i], SP_TRAIN_FULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_layers_pass_the_gradient_on),
        cmocka_unit_test(adapters_with_dropout_get_their_differences),
        cmocka_unit_test(adapters_without_dropout_get_their_differences),
        cmocka_unit_test(trained_weights_and_norms_get_their_differences),
    };
    return cmocka_run_group_tests_name("layer block", tests, NULL, NULL);
}
