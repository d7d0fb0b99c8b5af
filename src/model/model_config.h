/* What a decoder-only transformer is, apart from its weights: read from a config.json in either
   dialect in use, or from GGUF metadata rewritten as one (io/model_source.h).

   Families are data: a model_type names a row of a table (model/family.h), and the table says what
   its layers do. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "model/family.h"
#include "tensor/rope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SP_NO_TOKEN = -1, SP_MOST_LAYERS = 1024 };

typedef struct sp_model_config {
    const sp_family *family; /* static */
    size_t d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ffn;
    size_t vocab_size, max_positions; /* tokens */
    double norm_eps;
    size_t rotary_dim; /* values of a head that are rotated; 0 with learned positions */
    double rope_theta;
    sp_rope_scaling rope_scaling;
    bool has_bias[SP_N_ROLES];       /* of the matrices */
    size_t window;                   /* tokens that layers with a window see; 0: none has one */
    bool has_window[SP_MOST_LAYERS]; /* [n_layers] */
    bool tie_word_embeddings;
    bool may_tie_word_embeddings; /* nothing is said: tied if the tensors have no head */
    int32_t bos_token_id;         /* or SP_NO_TOKEN */
    int32_t eos_token_id;         /* the first one, or SP_NO_TOKEN */
} sp_model_config;

/* Reads a config.json object. `where` names it in messages. SP_BAD_DATA: a family, activation or
   rope scaling that is not known (by name), a missing or impossible size. */
SP_NODISCARD sp_status sp_model_config_read(sp_model_config *config, const json_t *json,
                                            const char *where);

/* Makes a config.json that of the model's first n_layers, which may be 0. SP_USAGE: it has fewer; SP_BAD_DATA: as
   sp_model_config_read(). */
SP_NODISCARD sp_status sp_model_config_cut(json_t *json, size_t n_layers, const char *where);

/* Inside sp_model_config_read(): reads what turns positions into angles, when the sizes are known. */
SP_NODISCARD sp_status sp_model_config_read_rope(sp_model_config *config, const json_t *json,
                                                 const char *where);

/* Attention's row widths. */
static inline size_t sp_q_width(const sp_model_config *c) { return c->n_heads * c->head_dim; }
static inline size_t sp_kv_width(const sp_model_config *c) { return c->n_kv_heads * c->head_dim; }

/* Rows and columns of the matrix [n_out, n_in] that stands at a role; n_out is 0 where none does. */
size_t sp_matrix_n_out(const sp_model_config *config, sp_role role);
size_t sp_matrix_n_in(const sp_model_config *config, sp_role role);

/* Longest sequence that longrope's first list of frequencies serves, in tokens; 0: there is no
   such choice. */
size_t sp_longrope_switch(const sp_model_config *config);
