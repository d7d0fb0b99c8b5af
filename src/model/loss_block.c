#include "model/final_blocks.h"

#include "tensor/cross_entropy.h"

#include <stdlib.h>
#include <string.h>

typedef struct loss_block {
    sp_block block;
    const sp_model_config *config;
    const sp_norm *norm;
    const sp_linear *head;
    sp_side side;
} loss_block;

/* Rows with a target, [n, d_model]: before the norm, and dL/d(after the norm). */
typedef struct kept_rows {
    float *gathered, *dnormed, *stats;
} kept_rows;

static size_t matrix_bytes(size_t n, size_t d) { return sp_arena_bytes(n * d * sizeof(float)); }

static kept_rows lay_out(char *kept, size_t n, size_t d) {
    return (kept_rows){.gathered = (float *)(void *)kept,
                       .dnormed = (float *)(void *)(kept + matrix_bytes(n, d)),
                       .stats = (float *)(void *)(kept + 2 * matrix_bytes(n, d))};
}

static size_t count_targets(const sp_rows *rows) {
    size_t n = 0;
    for (size_t r = 0; r < rows->n_rows; r++) n += rows->targets[r] != SP_NO_TARGET;
    return n;
}

static size_t n_in_rows(const sp_block *block, const sp_batch *batch) {
    return batch->rows[((const loss_block *)block)->side].n_rows;
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    (void)block;
    (void)batch;
    return 0;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const loss_block *self = (const loss_block *)block;
    const size_t n = count_targets(&batch->rows[self->side]), d = self->config->d_model;
    const double product = 2 * (double)n * (double)d * (double)sp_linear_n_out(self->head);
    return (sp_cost){
        .flop_forward = product,
        .flop_backward = product,
        .bytes_kept = 2 * matrix_bytes(n, d) + matrix_bytes(n, SP_NORM_STATS),
        .bytes_scratch = matrix_bytes(n, d) + sp_arena_bytes(n * sizeof(double)) +
                         sp_arena_bytes(n * sizeof(int32_t)) + matrix_bytes(n, 1) +
                         sp_arena_bytes(n) +
                         sp_arena_bytes(sp_cross_entropy_scratch_bytes(self->head, n)),
    };
}

/* The loss and, while training, its gradient come from one pass over the vocabulary, so both are
   made here; backward only carries the gradient on. */
static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    (void)y;
    const loss_block *self = (const loss_block *)block;
    const sp_rows *rows = &batch->rows[self->side];
    const size_t d = self->config->d_model, n = count_targets(rows);
    const kept_rows at = lay_out(kept, n, d);
    float *normed = sp_arena_push(scratch, n * d * sizeof(float));
    double *nll = sp_arena_push(scratch, n * sizeof *nll);
    int32_t *targets = sp_arena_push(scratch, n * sizeof *targets);
    float *scale = sp_arena_push(scratch, n * sizeof *scale);
    uint8_t *is_correct = sp_arena_push(scratch, n);
    void *room = sp_arena_push(scratch, sp_cross_entropy_scratch_bytes(self->head, n));

    for (size_t r = 0, i = 0; r < rows->n_rows; r++) {
        if (rows->targets[r] == SP_NO_TARGET) continue;
        memcpy(at.gathered + i * d, x + r * d, d * sizeof *x);
        targets[i] = rows->targets[r];
        scale[i++] = batch->loss_scale[rows->target_loss[r]];
    }
    sp_norm_forward(self->norm, self->config, normed, at.stats, at.gathered, n);
    if (batch->is_training)
        sp_cross_entropy_backward(self->head, nll, at.dnormed, NULL, NULL, normed, targets, scale,
                                  n, room);
    else
        sp_cross_entropy_forward(self->head, nll, is_correct, normed, targets, n, room);

    for (size_t r = 0, i = 0; r < rows->n_rows; r++) {
        if (rows->targets[r] == SP_NO_TARGET) continue;
        const uint8_t loss = rows->target_loss[r];
        batch->loss_sum[loss] += nll[i];
        batch->n_targets[loss]++;
        if (!batch->is_training) batch->n_correct[loss] += is_correct[i];
        if (batch->target_nll != NULL) batch->target_nll[i] = nll[i];
        i++;
    }
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    (void)dy;
    (void)x;
    const loss_block *self = (const loss_block *)block;
    const sp_rows *rows = &batch->rows[self->side];
    const size_t d = self->config->d_model, n = count_targets(rows);
    const kept_rows at = lay_out(kept, n, d);
    float *dgathered = sp_arena_push(scratch, n * d * sizeof(float));
    sp_norm_backward(self->norm, self->config, dgathered, 0, at.dnormed, at.gathered, at.stats, n);
    for (size_t r = 0, i = 0; r < rows->n_rows; r++) {
        if (rows->targets[r] == SP_NO_TARGET)
            memset(dx + r * d, 0, d * sizeof *dx);
        else
            memcpy(dx + r * d, dgathered + i++ * d, d * sizeof *dx);
    }
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "loss",
                                   .n_in_rows = n_in_rows,
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_loss_block_create(sp_block **block, const sp_model_config *config, const sp_norm *norm,
                               const sp_linear *head, sp_side side) {
    loss_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a block");
    *self = (loss_block){.block = {&kind, config->d_model, 0},
                         .config = config,
                         .norm = norm,
                         .head = head,
                         .side = side};
    *block = &self->block;
    return SP_OK;
}
