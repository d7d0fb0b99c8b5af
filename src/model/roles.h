/* The linear layers of a transformer layer, by role; LoRA targets name them so. */
#pragma once

#include "model/model_config.h"

typedef enum sp_role {
    SP_ROLE_Q,
    SP_ROLE_K,
    SP_ROLE_V,
    SP_ROLE_O,
    SP_ROLE_GATE,
    SP_ROLE_UP,
    SP_ROLE_DOWN,
    SP_N_ROLES
} sp_role;

typedef struct sp_role_info {
    const char *name;   /* as in encoder.lora.targets: "q" */
    const char *module; /* as in Llama checkpoints: "self_attn.q_proj" */
} sp_role_info;
extern const sp_role_info sp_roles[SP_N_ROLES];

/* Rows and columns of a role's weight [n_out, n_in]. */
size_t sp_role_n_out(sp_role role, const sp_model_config *config);
size_t sp_role_n_in(sp_role role, const sp_model_config *config);
