#include "model/norm.h"

#include "tensor/layernorm.h"
#include "tensor/rmsnorm.h"

static const float *value_of(const sp_param *trained, const float *frozen) {
    return trained != NULL ? trained->value : frozen;
}

static float *grad_of(const sp_param *trained) { return trained != NULL ? trained->grad : NULL; }

static sp_rmsnorm rmsnorm_of(const sp_norm *norm, const sp_model_config *config) {
    return sp_rmsnorm_make(value_of(norm->trained, norm->frozen), config->d_model,
                           (float)config->norm_eps);
}

static sp_layernorm layernorm_of(const sp_norm *norm, const sp_model_config *config) {
    return (sp_layernorm){.weight = value_of(norm->trained, norm->frozen),
                          .bias = value_of(norm->trained_bias, norm->frozen_bias),
                          .d = config->d_model,
                          .eps = (float)config->norm_eps};
}

void sp_norm_forward(const sp_norm *norm, const sp_model_config *config, float *restrict y,
                     float *restrict stats, const float *restrict x, size_t n_rows) {
    if (config->family->has_layernorm) {
        const sp_layernorm layernorm = layernorm_of(norm, config);
        sp_layernorm_forward(&layernorm, y, stats, stats + n_rows, x, n_rows);
    } else {
        const sp_rmsnorm rmsnorm = rmsnorm_of(norm, config);
        sp_rmsnorm_forward(&rmsnorm, y, stats, x, n_rows);
    }
}

void sp_norm_backward(const sp_norm *norm, const sp_model_config *config, float *restrict dx,
                      float beta, const float *restrict dy, const float *restrict x,
                      const float *restrict stats, size_t n_rows) {
    if (config->family->has_layernorm) {
        const sp_layernorm layernorm = layernorm_of(norm, config);
        sp_layernorm_backward(&layernorm, dx, beta, grad_of(norm->trained),
                              grad_of(norm->trained_bias), dy, x, stats, stats + n_rows, n_rows);
    } else {
        const sp_rmsnorm rmsnorm = rmsnorm_of(norm, config);
        sp_rmsnorm_backward(&rmsnorm, dx, beta, grad_of(norm->trained), dy, x, stats, n_rows);
    }
}
