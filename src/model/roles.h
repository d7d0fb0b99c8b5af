/* The linear layers of a transformer layer, by role; LoRA targets name them so. */
#pragma once

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

extern const char *const sp_role_names[SP_N_ROLES]; /* as in encoder.lora.targets: "q" */
