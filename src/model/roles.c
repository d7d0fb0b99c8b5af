#include "model/roles.h"

const sp_role_info sp_roles[SP_N_ROLES] = {
    [SP_ROLE_Q] = {"q", "self_attn.q_proj"},    [SP_ROLE_K] = {"k", "self_attn.k_proj"},
    [SP_ROLE_V] = {"v", "self_attn.v_proj"},    [SP_ROLE_O] = {"o", "self_attn.o_proj"},
    [SP_ROLE_GATE] = {"gate", "mlp.gate_proj"}, [SP_ROLE_UP] = {"up", "mlp.up_proj"},
    [SP_ROLE_DOWN] = {"down", "mlp.down_proj"},
};

size_t sp_role_n_out(sp_role role, const sp_model_config *config) {
    switch (role) {
    case SP_ROLE_Q:
        return sp_q_width(config);
    case SP_ROLE_K:
    case SP_ROLE_V:
        return sp_kv_width(config);
    case SP_ROLE_GATE:
    case SP_ROLE_UP:
        return config->d_ffn;
    default:
        return config->d_model;
    }
}

size_t sp_role_n_in(sp_role role, const sp_model_config *config) {
    switch (role) {
    case SP_ROLE_O:
        return sp_q_width(config);
    case SP_ROLE_DOWN:
        return config->d_ffn;
    default:
        return config->d_model;
    }
}
