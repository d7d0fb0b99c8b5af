#include "pcc/compressor.h"

#include "base/memory.h"
#include "base/rng.h"
#include "model/language_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a table that its mean and deviation are taken from, evenly spread: enough for both to
   three digits, whatever the vocabulary. */
enum { SAMPLED_ROWS = 4096 };

static bool has(const sp_compressor_options *options, size_t block) {
    return options->has_block == NULL || options->has_block[block];
}

static sp_status declare_merger(sp_compressor *c, sp_params *params,
                                const sp_compressor_options *options) {
    const size_t d = options->encoder->config.d_model, n_in = options->merged_tokens * d;
    c->merger = (sp_adapted_linear){.n_in = n_in, .n_out = d};
    return sp_params_declare(params, &c->merger.weight, d, n_in, "encoder.merger.weight");
}

/* The trained set has a group for every block, whether or not the encoder's are in the other one. */
static sp_status declare_encoder(sp_compressor *c, const sp_compressor_options *options) {
    sp_lora_options lora = options->lora;
    sp_params *params = options->encoder_is_frozen ? &c->frozen : &c->params;
    if (options->encoder_is_frozen) lora.dropout = 0;
    const sp_transformer_options encoder = {.training = options->training,
                                            .lora = &lora,
                                            .prefix = "encoder.",
                                            .n_special = options->memory_tokens,
                                            .special_name = "encoder.memory_tokens",
                                            .has_block = options->has_block};
    SP_TRY(sp_transformer_create(&c->encoder, options->encoder, &encoder, params));
    c->memory_tokens = c->encoder->embedding.special;
    if (options->merged_tokens > 0 && has(options, options->encoder->config.n_layers + 1))
        SP_TRY(declare_merger(c, params, options));
    for (size_t i = c->params.n_groups; i < options->encoder->config.n_layers + 2; i++)
        SP_TRY(sp_params_begin_group(&c->params));
    return SP_OK;
}

static sp_status declare_decoder(sp_compressor *c, const sp_compressor_options *options,
                                 size_t first_block) {
    const sp_transformer_options decoder = {
        .training = SP_TRAIN_NONE,
        .prefix = "decoder.",
        .n_special = SP_N_MARKERS,
        .special_name = "markers",
        .has_block = options->has_block != NULL ? options->has_block + first_block : NULL};
    SP_TRY(sp_transformer_create(&c->decoder, options->decoder, &decoder, &c->params));
    c->markers = c->decoder->embedding.special;
    if (c->markers != NULL) c->markers->is_frozen = options->markers_are_frozen;
    return SP_OK;
}

static sp_status check_identity(const sp_compressor_options *options) {
    if (options->converter_init == SP_CONVERTER_RANDOM || options->d_encoder == options->d_decoder)
        return SP_OK;
    return sp_fail(SP_USAGE,
                   "converter.init: identity wants an encoder and a decoder of one width; these "
                   "have %zu and %zu",
                   options->d_encoder, options->d_decoder);
}

static sp_status declare(sp_compressor *c, const sp_compressor_options *options) {
    SP_TRY(check_identity(options));
    c->params.are_frozen = options->has_no_gradients;
    c->frozen.are_frozen = true;
    c->is_of_chunks = options->memory_tokens == 0;
    if (options->encoder != NULL) {
        SP_TRY(declare_encoder(c, options));
        c->encoder_end = options->encoder->config.n_layers + 2;
        if (options->encoder_is_frozen) c->first_trained = c->encoder_end;
    }
    SP_TRY(sp_params_begin_group(&c->params));
    if (has(options, c->encoder_end))
        SP_TRY(sp_converter_declare(&c->converter, &c->params, options->d_encoder,
                                    options->d_decoder));
    if (options->decoder == NULL) return SP_OK;
    return declare_decoder(c, options, c->encoder_end + 1);
}

/* Mean of a table's values, and of their squares. */
static sp_status measure(double *mean, double *mean_square, const sp_tensor *table) {
    const size_t n_rows = table->shape[0], d = table->shape[1];
    const size_t step = n_rows / SAMPLED_ROWS + 1;
    void *row = NULL;
    SP_TRY(sp_alloc_array(&row, d, sizeof(float), "a row"));
    const float *values = row;
    double sum = 0, squares = 0;
    size_t n = 0;
    for (size_t r = 0; r < n_rows; r += step) {
        sp_tensor_read_rows(table, row, r, 1);
        for (size_t i = 0; i < d; i++) {
            sum += (double)values[i];
            squares += (double)values[i] * (double)values[i];
        }
        n += d;
    }
    free(row);
    *mean = sum / (double)n;
    *mean_square = squares / (double)n;
    return SP_OK;
}

/* New rows of a table: N(mean, std) of its values (pcc.md §4). */
static sp_status init_rows_like(const sp_param *param, const sp_tensor *table, uint64_t seed) {
    double mean = 0, mean_square = 0;
    SP_TRY(measure(&mean, &mean_square, table));
    const double variance = mean_square - mean * mean;
    const sp_stream stream = sp_stream_of(seed, param->name);
    sp_stream_normal(&stream, 0, param->value, param->n_values, (float)mean,
                     (float)sqrt(fmax(variance, 0)));
    return SP_OK;
}

/* Weight of the encoder's last norm, [d_encoder]. It is read from the tensors, since the rank that has the
   converter may not have the norm. */
static sp_status read_last_norm(float *weight, const sp_compressor_options *options) {
    const sp_model_config *config = &options->encoder->config;
    const sp_tensor *tensor = NULL;
    char name[128];
    snprintf(name, sizeof name, "%s.weight", config->family->final_norm);
    SP_TRY(sp_weights_find(&tensor, options->encoder_tensors, name, 0, config->d_model, "encoder"));
    sp_tensor_read_rows(tensor, weight, 0, 1);
    return SP_OK;
}

/* A side that is left out leaves first values to the checkpoint, which is then there. */
static sp_status bind_converter(sp_compressor *c, const sp_compressor_options *options) {
    if (options->converter_init == SP_CONVERTER_RANDOM || options->encoder == NULL ||
        options->decoder == NULL)
        return sp_converter_bind(&c->converter, options->seed);
    void *weight = NULL;
    double mean = 0, mean_square = 0;
    SP_TRY(sp_alloc_array(&weight, options->d_encoder, sizeof(float), "a norm"));
    sp_status status = read_last_norm(weight, options);
    if (status == SP_OK) status = measure(&mean, &mean_square, &options->decoder->embedding);
    if (status == SP_OK)
        status = sp_converter_bind_identity(&c->converter, (float)sqrt(mean_square), weight);
    free(weight);
    return status;
}

static sp_status bind_side(sp_transformer *transformer, const sp_compressor_options *options,
                           const sp_weights *weights, const char *where) {
    SP_TRY(sp_transformer_bind(transformer, options->seed, options->encoder_tensors, where));
    if (transformer->embedding.special == NULL) return SP_OK;
    return init_rows_like(transformer->embedding.special, &weights->embedding, options->seed);
}

/* A slot starts as the sum of its rows. */
static sp_status bind_merger(sp_compressor *c) {
    float *weight = c->merger.weight->value;
    for (size_t row = 0; row < c->merger.n_out; row++)
        for (size_t column = row; column < c->merger.n_in; column += c->merger.n_out)
            weight[row * c->merger.n_in + column] = 1;
    return sp_adapted_linear_bind(&c->merger);
}

static sp_status bind(sp_compressor *c, const sp_compressor_options *options) {
    SP_TRY(sp_params_allocate(&c->params));
    SP_TRY(sp_params_allocate(&c->frozen));
    if (c->converter.norm != NULL) SP_TRY(bind_converter(c, options));
    if (c->merger.weight != NULL) SP_TRY(bind_merger(c));
    if (c->encoder != NULL) SP_TRY(bind_side(c->encoder, options, options->encoder, "encoder"));
    return c->decoder != NULL ? bind_side(c->decoder, options, options->decoder, "decoder") : SP_OK;
}

static sp_status outline(sp_compressor *c) {
    SP_TRY(sp_converter_outline(&c->converter));
    SP_TRY(sp_adapted_linear_bind(&c->merger));
    if (c->encoder != NULL) SP_TRY(sp_transformer_outline(c->encoder));
    return c->decoder != NULL ? sp_transformer_outline(c->decoder) : SP_OK;
}

static sp_status append_memory(sp_compressor *c) {
    const sp_model_config *config = &c->encoder->weights->config;
    sp_block *block = NULL;
    const sp_norm *norm = &c->encoder->final_norm;
    if (!c->encoder->has_block[config->n_layers + 1]) return sp_chain_append(&c->chain, NULL);
    if (c->merger.weight != NULL)
        SP_TRY(sp_merge_block_create(&block, config, norm, &c->merger, SP_ENCODER));
    else
        SP_TRY((c->is_of_chunks ? sp_pool_block_create : sp_take_block_create)(&block, config, norm,
                                                                               SP_ENCODER));
    return sp_chain_append(&c->chain, block);
}

static sp_status build_chain(sp_compressor *c) {
    sp_block *block = NULL;
    if (c->encoder != NULL) {
        SP_TRY(sp_chain_append_layers(&c->chain, c->encoder, SP_ENCODER, false));
        SP_TRY(append_memory(c));
    }
    if (c->converter.norm != NULL) SP_TRY(sp_converter_block_create(&block, &c->converter));
    SP_TRY(sp_chain_append(&c->chain, block));
    if (c->decoder == NULL) return SP_OK;
    SP_TRY(sp_chain_append_layers(&c->chain, c->decoder, SP_DECODER, true));
    return sp_chain_append_loss(&c->chain, c->decoder, SP_DECODER);
}

sp_status sp_compressor_create(sp_compressor **compressor, const sp_compressor_options *options) {
    sp_compressor *c = calloc(1, sizeof *c);
    if (c == NULL) return sp_fail(SP_FAILURE, "no memory for a compressor");
    sp_status status = declare(c, options);
    if (status == SP_OK) status = options->is_outline ? outline(c) : bind(c, options);
    if (status == SP_OK) status = build_chain(c);
    if (status != SP_OK)
        sp_compressor_destroy(c);
    else
        *compressor = c;
    return status;
}

void sp_compressor_destroy(sp_compressor *c) {
    if (c == NULL) return;
    sp_chain_destroy(&c->chain);
    sp_adapted_linear_release(&c->merger);
    sp_converter_release(&c->converter);
    sp_transformer_destroy(c->decoder);
    sp_transformer_destroy(c->encoder);
    sp_params_free(&c->frozen);
    sp_params_free(&c->params);
    free(c);
}

sp_status sp_compressor_reserve(sp_compressor *c, sp_batch *batch, size_t begin, size_t end,
                                sp_pass *pass, sp_workspace *workspace) {
    if (c->encoder != NULL) SP_TRY(sp_transformer_prepare(c->encoder, &batch->rows[SP_ENCODER]));
    if (c->decoder != NULL) SP_TRY(sp_transformer_prepare(c->decoder, &batch->rows[SP_DECODER]));
    if (pass != NULL) SP_TRY(sp_pass_reserve(pass, &c->chain, begin, end, batch));
    return sp_workspace_reserve(workspace, &c->chain, begin, end, batch, pass != NULL);
}

sp_status sp_compressor_encode(sp_compressor *c, sp_batch *batch, float *memory,
                               sp_workspace *workspace) {
    batch->is_training = false;
    SP_TRY(sp_compressor_reserve(c, batch, 0, c->encoder_end, NULL, workspace));
    const float *out = sp_chain_run(&c->chain, 0, c->encoder_end, batch, NULL, workspace);
    memcpy(memory, out, batch->n_taken * c->converter.in.n_in * sizeof *memory);
    return SP_OK;
}

sp_status sp_compressor_convert(sp_compressor *c, float *slots, const float *memory, size_t n,
                                sp_workspace *workspace) {
    const size_t begin = c->encoder_end, end = begin + 1;
    sp_batch batch = {.n_taken = n}; /* all that the converter asks of a batch */
    SP_TRY(sp_compressor_reserve(c, &batch, begin, end, NULL, workspace));
    const float *out = sp_chain_run(&c->chain, begin, end, &batch, memory, workspace);
    memcpy(slots, out, n * c->converter.out.n_out * sizeof *slots);
    return SP_OK;
}
