#include "model/final_blocks.h"

#include <stdlib.h>
#include <string.h>

typedef struct merge_block {
    sp_block block;
    const sp_model_config *config;
    const sp_norm *norm;
    const sp_adapted_linear *linear;
    sp_side side;
} merge_block;

/* What forward keeps: the norm's stats, then each slot's rows side by side [n_taken, linear's n_in]. */
static float *kept_chunks(char *kept, size_t n_rows) {
    return (float *)(void *)(kept + sp_arena_bytes(SP_NORM_STATS * n_rows * sizeof(float)));
}

static size_t n_in_rows(const sp_block *block, const sp_batch *batch) {
    return batch->rows[((const merge_block *)block)->side].n_rows;
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    (void)block;
    return batch->n_taken;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const sp_adapted_linear *linear = ((const merge_block *)block)->linear;
    const size_t n = n_in_rows(block, batch);
    const size_t chunk_bytes = sp_arena_bytes(batch->n_taken * linear->n_in * sizeof(float));
    sp_cost cost = sp_adapted_linear_cost(linear, batch->n_taken);
    cost.bytes_kept += sp_arena_bytes(SP_NORM_STATS * n * sizeof(float)) + chunk_bytes;
    cost.bytes_scratch += sp_arena_bytes(n * block->n_in * sizeof(float)) + chunk_bytes;
    return cost;
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    const merge_block *self = (const merge_block *)block;
    const size_t n = n_in_rows(block, batch), d = block->n_in, width = self->linear->n_in;
    float *normed = sp_arena_push(scratch, n * d * sizeof(float)), *chunks = kept_chunks(kept, n);
    sp_norm_forward(self->norm, self->config, normed, (float *)(void *)kept, x, n);
    memset(chunks, 0, batch->n_taken * width * sizeof *chunks);
    for (size_t k = 0; k < batch->n_taken; k++)
        memcpy(chunks + k * width, normed + batch->taken[k] * d,
               batch->taken_rows[k] * d * sizeof *chunks);
    sp_adapted_linear_forward(self->linear, y, NULL, chunks, batch->n_taken, NULL, scratch);
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    const merge_block *self = (const merge_block *)block;
    const size_t n = n_in_rows(block, batch), d = block->n_in, width = self->linear->n_in;
    float *dnormed = sp_arena_push(scratch, n * d * sizeof(float));
    float *dchunks = sp_arena_push(scratch, batch->n_taken * width * sizeof(float));
    sp_adapted_linear_backward(self->linear, dchunks, 0, dy, kept_chunks(kept, n), NULL,
                               batch->n_taken, NULL, scratch);
    memset(dnormed, 0, n * d * sizeof *dnormed);
    for (size_t k = 0; k < batch->n_taken; k++)
        memcpy(dnormed + batch->taken[k] * d, dchunks + k * width,
               batch->taken_rows[k] * d * sizeof *dnormed);
    sp_norm_backward(self->norm, self->config, dx, 0, dnormed, x, (float *)(void *)kept, n);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "merge",
                                   .n_in_rows = n_in_rows,
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_merge_block_create(sp_block **block, const sp_model_config *config,
                                const sp_norm *norm, const sp_adapted_linear *linear,
                                sp_side side) {
    merge_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a block");
    *self = (merge_block){.block = {&kind, config->d_model, config->d_model},
                          .config = config,
                          .norm = norm,
                          .linear = linear,
                          .side = side};
    *block = &self->block;
    return SP_OK;
}
