/* config.json: the configuration, and what is computed from it before any weight is read. */
#include "model/model_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Angles of what is left after the checks: any frequency may be absurd, none may be a crash. */
static void make_frequencies(const sp_model_config *config) {
    enum { MOST = 1024 };
    float inv_freq[MOST / 2], cos[MOST / 2], sin[MOST / 2];
    if (config->rotary_dim == 0 || config->rotary_dim > MOST) return;
    const bool may_be_long = sp_longrope_switch(config) > 0;
    for (int is_long = 0; is_long <= may_be_long; is_long++) {
        sp_rope_make_inv_freq(inv_freq, config->rotary_dim, config->rope_theta,
                              &config->rope_scaling, is_long);
        sp_rope_make_table(cos, sin, inv_freq, config->rotary_dim,
                           config->rope_scaling.attention_factor, 1, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    json_t *json = NULL;
    sp_model_config config = {0};
    if (sp_json_load_text(&json, (const char *)data, n_bytes, "input") == SP_OK &&
        sp_model_config_read(&config, json, "input") == SP_OK) {
        for (sp_role role = 0; role < SP_N_ROLES; role++) {
            const size_t n_out = sp_matrix_n_out(&config, role);
            if (n_out > 0 && sp_matrix_n_in(&config, role) > SIZE_MAX / sizeof(float) / n_out)
                __builtin_trap();
        }
        make_frequencies(&config);
    }
    json_decref(json);
    return 0;
}
