/* What a decoder-only transformer is, apart from its weights: read from a config.json in either
   dialect in use, or from GGUF metadata rewritten as one (io/model_source.h).

   Families are data: a model_type names a row of a table, and the table says what its layers do. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "tensor/rope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SP_NO_TOKEN = -1 };

typedef struct sp_model_config {
    const char *family; /* model_type, static */
    size_t d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ffn;
    size_t vocab_size, max_positions; /* tokens */
    double rope_theta, norm_eps;
    bool has_rope_scaling; /* of type llama3 */
    sp_rope_llama3 rope_scaling;
    bool tie_word_embeddings;
    int32_t bos_token_id; /* or SP_NO_TOKEN */
    int32_t eos_token_id; /* the first one, or SP_NO_TOKEN */
} sp_model_config;

/* Reads a config.json object. `where` names it in messages. SP_BAD_DATA: a family, activation or
   rope scaling that is not known (by name), a missing or impossible size. */
SP_NODISCARD sp_status sp_model_config_read(sp_model_config *config, const json_t *json,
                                            const char *where);

/* Attention's row widths. */
static inline size_t sp_q_width(const sp_model_config *c) { return c->n_heads * c->head_dim; }
static inline size_t sp_kv_width(const sp_model_config *c) { return c->n_kv_heads * c->head_dim; }
