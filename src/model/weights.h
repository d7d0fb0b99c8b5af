/* The frozen weights of a model, in the form that its kernels want.

   Encoder and decoder over the same file share one of these. Whatever the file's type allows is
   used in place, from the mapping, which must outlive the weights. */
#pragma once

#include "model/model_config.h"
#include "tensor/linear.h"
#include "tensor/tensor_table.h"

typedef struct sp_norm_weights {
    float *weight; /* [d_model] */
    float *bias;   /* [d_model], or NULL */
} sp_norm_weights;

typedef struct sp_layer_weights {
    sp_linear *linears[SP_N_ROLES]; /* NULL where no matrix stands */
    sp_norm_weights attention_norm, ffn_norm;
} sp_layer_weights;

typedef struct sp_weights {
    sp_model_config config;
    sp_precision precision;   /* of the matrices */
    sp_tensor embedding;      /* [vocab_size, d_model], borrowed */
    sp_tensor positions;      /* [max_positions, d_model], borrowed, where they are learned */
    sp_layer_weights *layers; /* [n_layers] */
    sp_norm_weights final_norm;
    sp_linear *head; /* [vocab_size, d_model], or NULL */
    /* [2, rotary_dim / 2] rotary angle a position, radians: of sequences up to
       sp_longrope_switch(), and of longer ones; equal where the model has no such choice. */
    float *inv_freq;
} sp_weights; /* all zero: empty */

/* What of a model is loaded beside its config, embeddings (where they lie in the file) and rotary
   frequencies. */
typedef struct sp_weights_part {
    bool layers, final_norm, head;
    const bool *which_layers; /* [n_layers] those wanted, borrowed during the call; NULL: all */
} sp_weights_part;

static const sp_weights_part SP_WEIGHTS_FRAME = {0}; /* all else is trained */
static const sp_weights_part SP_WEIGHTS_BODY = {.layers = true, .final_norm = true};
static const sp_weights_part SP_WEIGHTS_ALL = {.layers = true, .final_norm = true, .head = true};

/* Loads from the tensors of a model whose config.json is `json`. `where` names the model in
   messages. SP_BAD_DATA: a tensor is missing or has another shape than the config says. */
SP_NODISCARD sp_status sp_weights_load(sp_weights *weights, const sp_tensor_table *tensors,
                                       const json_t *json, sp_precision precision,
                                       sp_weights_part part, const char *where);

/* Makes weights without values for all of a model, for costs: nothing can be run on them. */
SP_NODISCARD sp_status sp_weights_outline(sp_weights *weights, const sp_model_config *config,
                                          sp_precision precision);

/* That of the output head beside layers of a precision: bf16 where they are int8. Its errors reach the
   loss at full size, half of all that int8 costs on SmolLM2-135M, and it is a small part of a model. */
sp_precision sp_head_precision(sp_precision precision);

/* Finds a tensor and holds it against its shape, [n_rows, n_cols], or [n_cols] if n_rows is 0. */
SP_NODISCARD sp_status sp_weights_find(const sp_tensor **tensor, const sp_tensor_table *tensors,
                                       const char *name, size_t n_rows, size_t n_cols,
                                       const char *where);

void sp_weights_free(sp_weights *weights);
