#include "model/final_blocks.h"

#include <stdlib.h>
#include <string.h>

typedef struct take_block {
    sp_block block;
    const sp_model_config *config;
    const sp_norm *norm;
    sp_side side;
} take_block;

/* What forward keeps: the gathered rows [n_taken, d_model], then the norm's stats. */
static float *kept_stats(char *kept, size_t n_taken, size_t d) {
    return (float *)(void *)(kept + sp_arena_bytes(n_taken * d * sizeof(float)));
}

static size_t n_in_rows(const sp_block *block, const sp_batch *batch) {
    return batch->rows[((const take_block *)block)->side].n_rows;
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    (void)block;
    return batch->n_taken;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const size_t n = batch->n_taken, d = block->n_in;
    return (sp_cost){
        .bytes_kept = sp_arena_bytes(n * d * sizeof(float)) +
                      sp_arena_bytes(SP_NORM_STATS * n * sizeof(float)),
        .bytes_scratch = sp_arena_bytes(n * d * sizeof(float)),
    };
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    (void)scratch;
    const take_block *self = (const take_block *)block;
    const size_t d = self->config->d_model;
    float *gathered = (float *)(void *)kept;
    for (size_t i = 0; i < batch->n_taken; i++)
        memcpy(gathered + i * d, x + batch->taken[i] * d, d * sizeof *x);
    sp_norm_forward(self->norm, self->config, y, kept_stats(kept, batch->n_taken, d), gathered,
                    batch->n_taken);
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    (void)x;
    const take_block *self = (const take_block *)block;
    const size_t d = self->config->d_model, n = batch->n_taken;
    float *dgathered = sp_arena_push(scratch, n * d * sizeof(float));
    sp_norm_backward(self->norm, self->config, dgathered, 0, dy, (float *)(void *)kept,
                     kept_stats(kept, n, d), n);
    memset(dx, 0, batch->rows[self->side].n_rows * d * sizeof *dx);
    for (size_t i = 0; i < n; i++)
        memcpy(dx + batch->taken[i] * d, dgathered + i * d, d * sizeof *dx);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "take",
                                   .n_in_rows = n_in_rows,
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_take_block_create(sp_block **block, const sp_model_config *config, const sp_norm *norm,
                               sp_side side) {
    take_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a block");
    *self = (take_block){.block = {&kind, config->d_model, config->d_model},
                         .config = config,
                         .norm = norm,
                         .side = side};
    *block = &self->block;
    return SP_OK;
}
