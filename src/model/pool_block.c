#include "model/final_blocks.h"

#include <stdlib.h>
#include <string.h>

typedef struct pool_block {
    sp_block block;
    const sp_model_config *config;
    const sp_norm *norm;
    sp_side side;
} pool_block;

static size_t n_in_rows(const sp_block *block, const sp_batch *batch) {
    return batch->rows[((const pool_block *)block)->side].n_rows;
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    (void)block;
    return batch->n_taken;
}

/* Kept: the norm's stats. */
static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const size_t n = n_in_rows(block, batch);
    return (sp_cost){
        .bytes_kept = sp_arena_bytes(SP_NORM_STATS * n * sizeof(float)),
        .bytes_scratch = sp_arena_bytes(n * block->n_in * sizeof(float)),
    };
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    const pool_block *self = (const pool_block *)block;
    const size_t n = n_in_rows(block, batch), d = self->config->d_model;
    float *normed = sp_arena_push(scratch, n * d * sizeof(float));
    sp_norm_forward(self->norm, self->config, normed, (float *)(void *)kept, x, n);
    memset(y, 0, batch->n_taken * d * sizeof *y);
    for (size_t k = 0; k < batch->n_taken; k++) {
        const float share = 1 / (float)batch->taken_rows[k];
        const float *row = normed + batch->taken[k] * d;
        for (size_t r = 0; r < batch->taken_rows[k]; r++, row += d)
            for (size_t i = 0; i < d; i++) y[k * d + i] += share * row[i];
    }
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    const pool_block *self = (const pool_block *)block;
    const size_t n = n_in_rows(block, batch), d = self->config->d_model;
    float *dnormed = sp_arena_push(scratch, n * d * sizeof(float));
    memset(dnormed, 0, n * d * sizeof *dnormed);
    for (size_t k = 0; k < batch->n_taken; k++) {
        const float share = 1 / (float)batch->taken_rows[k];
        float *row = dnormed + batch->taken[k] * d;
        for (size_t r = 0; r < batch->taken_rows[k]; r++, row += d)
            for (size_t i = 0; i < d; i++) row[i] = share * dy[k * d + i];
    }
    sp_norm_backward(self->norm, self->config, dx, 0, dnormed, x, (float *)(void *)kept, n);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "pool",
                                   .n_in_rows = n_in_rows,
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_pool_block_create(sp_block **block, const sp_model_config *config, const sp_norm *norm,
                               sp_side side) {
    pool_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a block");
    *self = (pool_block){.block = {&kind, config->d_model, config->d_model},
                         .config = config,
                         .norm = norm,
                         .side = side};
    *block = &self->block;
    return SP_OK;
}
