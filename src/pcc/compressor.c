#include "pcc/compressor.h"

#include "base/memory.h"
#include "base/rng.h"
#include "model/language_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a table that its mean and deviation are taken from, evenly spread: enough for both to
   three digits, whatever the vocabulary. */
enum { SAMPLED_ROWS = 4096 };

static sp_status declare(sp_compressor *c, const sp_compressor_options *options) {
    c->params.are_frozen = options->is_inference;
    if (options->encoder != NULL) {
        SP_TRY(sp_transformer_create(&c->encoder, options->encoder, options->training,
                                     &options->lora, &c->params, "encoder.", 0));
        SP_TRY(sp_params_declare(&c->params, &c->memory_tokens, options->memory_tokens,
                                 options->d_encoder, "encoder.memory_tokens"));
    }
    SP_TRY(sp_converter_declare(&c->converter, &c->params, options->d_encoder, options->d_decoder));
    if (options->decoder == NULL) return SP_OK;
    SP_TRY(sp_params_declare(&c->params, &c->markers, SP_N_MARKERS, options->d_decoder, "markers"));
    c->markers->is_frozen = options->markers_are_frozen;
    return sp_transformer_create(&c->decoder, options->decoder, SP_TRAIN_NONE, NULL, &c->params,
                                 "decoder.", 0);
}

/* New rows of a table: N(mean, std) of its values (pcc.md §4). */
static sp_status init_rows_like(const sp_param *param, const sp_tensor *table, uint64_t seed) {
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
    const double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    const sp_stream stream = sp_stream_of(seed, param->name);
    sp_stream_normal(&stream, 0, param->value, param->n_values, (float)mean,
                     (float)sqrt(fmax(variance, 0)));
    return SP_OK;
}

static sp_status bind_side(sp_transformer *transformer, const sp_compressor_options *options,
                           const sp_weights *weights, sp_param *special, const char *where) {
    SP_TRY(sp_transformer_bind(transformer, options->seed, options->encoder_tensors, where));
    transformer->embedding.special = special;
    return init_rows_like(special, &weights->embedding, options->seed);
}

static sp_status bind(sp_compressor *c, const sp_compressor_options *options) {
    SP_TRY(sp_params_allocate(&c->params));
    SP_TRY(sp_converter_bind(&c->converter, options->seed));
    if (c->encoder != NULL)
        SP_TRY(bind_side(c->encoder, options, options->encoder, c->memory_tokens, "encoder"));
    if (c->decoder != NULL)
        SP_TRY(bind_side(c->decoder, options, options->decoder, c->markers, "decoder"));
    return SP_OK;
}

static sp_status build_chain(sp_compressor *c) {
    sp_block *block = NULL;
    if (c->encoder != NULL) {
        SP_TRY(sp_chain_append_layers(&c->chain, c->encoder, SP_ENCODER, false));
        SP_TRY(sp_take_block_create(&block, &c->encoder->weights->config, &c->encoder->final_norm,
                                    SP_ENCODER));
        SP_TRY(sp_chain_append(&c->chain, block));
    }
    c->encoder_end = c->chain.n_blocks;
    SP_TRY(sp_converter_block_create(&block, &c->converter));
    SP_TRY(sp_chain_append(&c->chain, block));
    if (c->decoder == NULL) return SP_OK;
    SP_TRY(sp_chain_append_layers(&c->chain, c->decoder, SP_DECODER, true));
    return sp_chain_append_loss(&c->chain, c->decoder, SP_DECODER);
}

sp_status sp_compressor_create(sp_compressor **compressor, const sp_compressor_options *options) {
    sp_compressor *c = calloc(1, sizeof *c);
    if (c == NULL) return sp_fail(SP_FAILURE, "no memory for a compressor");
    sp_status status = declare(c, options);
    if (status == SP_OK) status = bind(c, options);
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
    sp_converter_release(&c->converter);
    sp_transformer_destroy(c->decoder);
    sp_transformer_destroy(c->encoder);
    sp_params_free(&c->params);
    free(c);
}

sp_status sp_compressor_reserve(sp_compressor *c, sp_batch *batch, size_t begin, size_t end,
                                bool keep, sp_arena *arena) {
    if (c->encoder != NULL) SP_TRY(sp_transformer_prepare(c->encoder, &batch->rows[SP_ENCODER]));
    if (c->decoder != NULL) SP_TRY(sp_transformer_prepare(c->decoder, &batch->rows[SP_DECODER]));
    arena->used = 0;
    return sp_arena_reserve(arena, sp_chain_arena_bytes(&c->chain, begin, end, batch, keep),
                            "activations");
}

sp_status sp_compressor_encode(sp_compressor *c, sp_batch *batch, float *memory, sp_arena *arena) {
    batch->is_training = false;
    SP_TRY(sp_compressor_reserve(c, batch, 0, c->encoder_end, false, arena));
    const float *out = sp_chain_forward(&c->chain, 0, c->encoder_end, batch, NULL, false, arena);
    memcpy(memory, out, batch->n_taken * c->converter.in.n_in * sizeof *memory);
    return SP_OK;
}

sp_status sp_compressor_convert(sp_compressor *c, float *slots, const float *memory, size_t n,
                                sp_arena *arena) {
    const size_t begin = c->encoder_end, end = begin + 1;
    sp_batch batch = {.n_taken = n}; /* all that the converter asks of a batch */
    SP_TRY(sp_compressor_reserve(c, &batch, begin, end, false, arena));
    const float *out = sp_chain_forward(&c->chain, begin, end, &batch, memory, false, arena);
    memcpy(slots, out, n * c->converter.out.n_out * sizeof *slots);
    return SP_OK;
}
