/* A small model with random weights, in memory: no file is read. What fails here fails the test. */
#pragma once

#include "model/weights.h"

typedef struct tiny_model {
    json_t *config; /* as config.json has it */
    sp_tensor_table tensors;
    float *values; /* what the tensors lie in */
    sp_weights weights;
} tiny_model;

typedef struct tiny_shape {
    size_t d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ffn, vocab_size;
    bool is_tied;
    const char *family;  /* NULL: llama */
    const char *options; /* a JSON object whose members are put into the config, or NULL */
} tiny_shape;

/* Makes a model whose linear weights keep their input's size and whose norms are around 1, the same
   for the same seed. */
void tiny_model_create(tiny_model *model, const tiny_shape *shape, uint32_t seed,
                       sp_weights_part part);
void tiny_model_release(tiny_model *model);
