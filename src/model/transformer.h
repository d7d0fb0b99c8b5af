/* A decoder-only transformer: frozen weights, what is trained in it, and its rotary tables.

   A model is made in three steps: create() declares its parameters; the caller allocates them all
   (sp_params_allocate); bind() gives them their place and their first values. */
#pragma once

#include "chain/chain.h"
#include "model/embed_block.h"
#include "model/final_blocks.h"
#include "model/layer.h"
#include "model/weights.h"

typedef enum sp_training { SP_TRAIN_NONE, SP_TRAIN_LORA, SP_TRAIN_FULL } sp_training;

typedef struct sp_lora_options {
    size_t rank;
    double alpha, dropout;
    bool targets[SP_N_ROLES]; /* a fused matrix has an adapter if any of its roles is one */
    bool targets_embedding;
} sp_lora_options;

typedef struct sp_transformer {
    const sp_weights *weights; /* borrowed */
    sp_training training;
    sp_layer *layers; /* [n_layers], owned */
    sp_embedding embedding;
    sp_norm final_norm;
    sp_rope rope;
    float *rope_tables; /* owned: cos, then sin */
    size_t name_begin;  /* where a parameter's name goes on as its tensor's, behind the prefix */
    bool *has_block;    /* [n_layers + 2], owned */
} sp_transformer;

typedef struct sp_transformer_options {
    sp_training training;        /* full training wants SP_WEIGHTS_FRAME only */
    const sp_lora_options *lora; /* for SP_TRAIN_LORA; borrowed during create() */
    const char *prefix;          /* names of its parameters begin so: "encoder."; static */
    uint32_t first_module;       /* numbers its linear layers for dropout */
    size_t n_special;            /* trained rows beside the embeddings of tokens */
    const char *special_name;    /* of the parameter that they are; static */
    /* [n_layers + 2] which of its blocks are here, of the embedding, the layers, and what follows
       them; borrowed during create(). NULL: all. */
    const bool *has_block;
} sp_transformer_options;

/* Makes a model over `weights` (borrowed) into *transformer and declares the trained parameters of
   the blocks that are here: n_layers + 2 groups. */
SP_NODISCARD sp_status sp_transformer_create(sp_transformer **transformer,
                                             const sp_weights *weights,
                                             const sp_transformer_options *options,
                                             sp_params *params);

/* Gives trained parameters their first values: LoRA as PEFT does (A Kaiming-uniform, B zero), a
   full model its tensors. Special rows are the caller's. */
SP_NODISCARD sp_status sp_transformer_bind(sp_transformer *transformer, uint64_t seed,
                                           const sp_tensor_table *tensors, const char *where);

/* Instead of bind(), where parameters are not allocated: the model knows its costs, and cannot
   run. */
SP_NODISCARD sp_status sp_transformer_outline(sp_transformer *transformer);

/* Makes sure that positions below n_positions have their rotary tables. SP_BAD_DATA: they are
   learned, and so many are not. */
SP_NODISCARD sp_status sp_transformer_reserve(sp_transformer *transformer, size_t n_positions);

/* Makes a model ready for a pass over rows: reserves their positions and fills rows->rope_rows. A
   sequence turns by the frequencies of its whole length: with its parent, or with its longest
   child. */
SP_NODISCARD sp_status sp_transformer_prepare(sp_transformer *transformer, sp_rows *rows);

/* The row of the rotary tables for a position in a sequence that is_long, or not. */
static inline uint32_t sp_transformer_rope_row(const sp_transformer *transformer, uint32_t position,
                                               bool is_long) {
    return sp_longrope_switch(&transformer->weights->config) > 0 ? 2 * position + is_long
                                                                 : position;
}

void sp_transformer_destroy(sp_transformer *transformer); /* NULL is fine */
