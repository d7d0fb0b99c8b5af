#include "model/family.h"

#include <string.h>

#define SEPARATE_MATRICES \
    { SP_ROLE_Q, SP_ROLE_K, SP_ROLE_V, SP_ROLE_O, SP_ROLE_GATE, SP_ROLE_UP, SP_ROLE_DOWN }

/* clang-format off */
#define LLAMA_NAMES                                                                                \
    .embedding = "model.embed_tokens", .final_norm = "model.norm", .layers = "model.layers",       \
    .attention_norm = "input_layernorm", .ffn_norm = "post_attention_layernorm",                   \
    .keys = {.d_model = "hidden_size", .n_layers = "num_hidden_layers",                            \
             .n_heads = "num_attention_heads", .d_ffn = "intermediate_size",                       \
             .max_positions = "max_position_embeddings", .norm_eps = "rms_norm_eps",               \
             .activation = "hidden_act"},                                                          \
    .activations = {"silu", "swish"}, .is_gated = true
#define LLAMA_MODULES                                                                              \
    .modules = {[SP_ROLE_Q] = "self_attn.q_proj", [SP_ROLE_K] = "self_attn.k_proj",                \
                [SP_ROLE_V] = "self_attn.v_proj", [SP_ROLE_O] = "self_attn.o_proj",                \
                [SP_ROLE_GATE] = "mlp.gate_proj", [SP_ROLE_UP] = "mlp.up_proj",                    \
                [SP_ROLE_DOWN] = "mlp.down_proj"}
/* clang-format on */

const sp_family sp_families[] = {
    {.name = "gpt2",
     .has_layernorm = true,
     .has_learned_positions = true,
     .matrix_of = {SP_ROLE_Q, SP_ROLE_Q, SP_ROLE_Q, SP_ROLE_O, SP_N_ROLES, SP_ROLE_UP,
                   SP_ROLE_DOWN},
     .has_bias =
         {[SP_ROLE_Q] = true, [SP_ROLE_O] = true, [SP_ROLE_UP] = true, [SP_ROLE_DOWN] = true},
     .embedding = "transformer.wte",
     .positions = "transformer.wpe",
     .final_norm = "transformer.ln_f",
     .layers = "transformer.h",
     .attention_norm = "ln_1",
     .ffn_norm = "ln_2",
     .modules = {[SP_ROLE_Q] = "attn.c_attn",
                 [SP_ROLE_O] = "attn.c_proj",
                 [SP_ROLE_UP] = "mlp.c_fc",
                 [SP_ROLE_DOWN] = "mlp.c_proj"},
     .keys = {.d_model = "n_embd",
              .n_layers = "n_layer",
              .n_heads = "n_head",
              .d_ffn = "n_inner",
              .max_positions = "n_positions",
              .norm_eps = "layer_norm_epsilon",
              .activation = "activation_function"},
     .activations = {"gelu_new", "gelu_pytorch_tanh"},
     .default_max_positions = 1024,
     .default_norm_eps = 1e-5,
     .default_tie_word_embeddings = true},
    {.name = "llama",
     LLAMA_NAMES,
     LLAMA_MODULES,
     .matrix_of = SEPARATE_MATRICES,
     .may_have_bias = true,
     .default_max_positions = 2048,
     .default_norm_eps = 1e-6},
    {.name = "mistral",
     LLAMA_NAMES,
     LLAMA_MODULES,
     .matrix_of = SEPARATE_MATRICES,
     .window_rule = SP_WINDOW_ALWAYS,
     .default_window = 4096,
     .default_kv_heads = 8,
     .default_max_positions = 131072,
     .default_norm_eps = 1e-6},
    {.name = "qwen2",
     LLAMA_NAMES,
     LLAMA_MODULES,
     .matrix_of = SEPARATE_MATRICES,
     .has_bias = {[SP_ROLE_Q] = true, [SP_ROLE_K] = true, [SP_ROLE_V] = true},
     .window_rule = SP_WINDOW_IF_USED,
     .default_window = 4096,
     .default_kv_heads = 32,
     .default_max_positions = 32768,
     .default_norm_eps = 1e-6},
    {.name = "phi3",
     LLAMA_NAMES,
     .modules = {[SP_ROLE_Q] = "self_attn.qkv_proj",
                 [SP_ROLE_O] = "self_attn.o_proj",
                 [SP_ROLE_GATE] = "mlp.gate_up_proj",
                 [SP_ROLE_DOWN] = "mlp.down_proj"},
     .matrix_of = {SP_ROLE_Q, SP_ROLE_Q, SP_ROLE_Q, SP_ROLE_O, SP_ROLE_GATE, SP_ROLE_GATE,
                   SP_ROLE_DOWN},
     .has_partial_rotation = true,
     .window_rule = SP_WINDOW_ALWAYS,
     .default_max_positions = 4096,
     .default_norm_eps = 1e-5},
};
const size_t sp_n_families = sizeof sp_families / sizeof sp_families[0];

const sp_family *sp_family_find(const char *model_type) {
    for (size_t i = 0; i < sp_n_families; i++)
        if (strcmp(sp_families[i].name, model_type) == 0) return &sp_families[i];
    return NULL;
}
