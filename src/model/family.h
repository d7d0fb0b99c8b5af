/* The families of models that are read, as data: what the layers of a model_type are, and how its
   makers name tensors and sizes.

       gpt2      Radford et al. 2019: learned positions, LayerNorm, one matrix for q, k and v, GELU
       llama     Touvron et al. 2023 (arXiv 2302.13971): rotary positions, RMSNorm, SwiGLU
       mistral   Jiang et al. 2023 (arXiv 2310.06825): Llama with a sliding window
       qwen2     Yang et al. 2024 (arXiv 2412.15115): Llama with biases at q, k and v
       phi3      Abdin et al. 2024 (arXiv 2404.14219): Llama with fused matrices, longrope */
#pragma once

#include "model/roles.h"

#include <stdbool.h>
#include <stddef.h>

/* When "sliding_window" of a config.json counts. */
typedef enum sp_window_rule {
    SP_WINDOW_NEVER,
    SP_WINDOW_ALWAYS,  /* in every layer */
    SP_WINDOW_IF_USED, /* if "use_sliding_window" is set, from layer "max_window_layers" on */
} sp_window_rule;

typedef struct sp_family {
    const char *name; /* model_type */

    bool has_layernorm;         /* with biases; else RMSNorm */
    bool has_learned_positions; /* a table, added to the embeddings; else rotary */
    bool is_gated;              /* down(silu(gate) * up); else down(gelu_tanh(up)) */
    /* The role in whose matrix each role lies, its rows after those of the roles before it: a role
       of its own, that of a fused matrix, or SP_N_ROLES where the family has no such layer. */
    sp_role matrix_of[SP_N_ROLES];
    bool has_bias[SP_N_ROLES]; /* whatever the configuration says */
    bool may_have_bias;        /* as "attention_bias" and "mlp_bias" say */
    bool has_partial_rotation; /* heeds "partial_rotary_factor" */
    sp_window_rule window_rule;

    /* Tensors, without ".weight" and ".bias"; those of a layer follow "LAYERS.N.". */
    const char *embedding, *positions, *final_norm, *layers;
    const char *attention_norm, *ffn_norm;
    const char *modules[SP_N_ROLES]; /* of the roles that have a matrix of their own */

    /* Keys of config.json. */
    struct {
        const char *d_model, *n_layers, *n_heads, *d_ffn, *max_positions, *norm_eps, *activation;
    } keys;
    const char *activations[3]; /* names of the one that it has, NULL after the last */
    /* What transformers takes where config.json is silent; 0: n_heads, none. A null for kv heads is
       not silence: n_heads. */
    size_t default_kv_heads, default_max_positions, default_window;
    double default_norm_eps;
    bool default_tie_word_embeddings;
} sp_family;

extern const sp_family sp_families[];
extern const size_t sp_n_families;

/* The family of that model_type, static, or NULL. */
const sp_family *sp_family_find(const char *model_type);
