#include "run/optimizer.h"

#include "base/memory.h"
#include "tensor/adamw.h"

#include <math.h>
#include <stdlib.h>

sp_status sp_optimizer_create(sp_optimizer *optimizer, const sp_params *params, size_t index,
                              size_t n_shards) {
    void *m = NULL, *v = NULL;
    SP_TRY(sp_shard_create(&optimizer->shard, params, index, n_shards));
    const size_t n = optimizer->shard.n_values;
    SP_TRY(sp_alloc_array(&m, n, sizeof(float), "AdamW's first moments"));
    optimizer->m = m;
    SP_TRY(sp_alloc_array(&v, n, sizeof(float), "AdamW's second moments"));
    optimizer->v = v;
    return SP_OK;
}

void sp_optimizer_release(sp_optimizer *optimizer) {
    free(optimizer->m);
    free(optimizer->v);
    sp_shard_free(&optimizer->shard);
    *optimizer = (sp_optimizer){0};
}

double sp_learning_rate(const sp_run_config *config, uint64_t step, uint64_t n_steps) {
    const double lr = config->train.lr, s = (double)step;
    const double warmup = (double)config->train.warmup_steps, last = (double)n_steps;
    if (s <= warmup) return lr * s / warmup;
    if (config->train.schedule == SP_SCHEDULE_CONSTANT) return lr;
    return lr * 0.5 * (1 + cos(M_PI * (s - warmup) / (last - warmup)));
}

void sp_optimizer_step(sp_optimizer *optimizer, const sp_params *params, const float *grads,
                       const sp_run_config *config, uint64_t step, double lr, double grad_norm) {
    const double clip = config->train.grad_clip;
    /* as torch.nn.utils.clip_grad_norm_: the margin keeps a zero norm from dividing */
    const double scale = clip > 0 ? fmin(1, clip / (grad_norm + 1e-6)) : 1;
    sp_adamw adamw = {
        .lr = lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_scale = (float)scale};
    for (size_t i = 0; i < optimizer->shard.n_pieces; i++) {
        const sp_shard_piece *piece = &optimizer->shard.pieces[i];
        if (piece->param->is_frozen) continue;
        adamw.weight_decay = piece->param->n_dims == 2 ? config->train.weight_decay : 0;
        sp_adamw_step(&adamw, step, params->values + piece->offset, optimizer->m + piece->local,
                      optimizer->v + piece->local, grads + piece->local, piece->n_values);
    }
}
