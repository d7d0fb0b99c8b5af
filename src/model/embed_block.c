#include "model/embed_block.h"

#include "tensor/embedding.h"

#include <stdlib.h>
#include <string.h>

typedef struct embed_block {
    sp_block block;
    const sp_embedding *embedding;
    sp_side side;
} embed_block;

static size_t n_special(const sp_embedding *embedding) {
    return embedding->special != NULL ? embedding->special->shape[0] : 0;
}

void sp_embed_rows(const sp_embedding *embedding, float *y, const int32_t *ids, size_t n_rows,
                   const float *x) {
    const size_t d = embedding->d_model, n_own = n_special(embedding);
    if (embedding->trained == NULL) sp_embedding_read(y, embedding->frozen, ids, n_rows);
    for (size_t r = 0; r < n_rows; r++) {
        const float *source = NULL;
        if (ids[r] < 0) {
            const size_t k = (size_t)(-1 - (int64_t)ids[r]);
            source = k < n_own ? embedding->special->value + k * d : x + (k - n_own) * d;
        } else if (embedding->trained != NULL) {
            source = embedding->trained->value + (size_t)ids[r] * d;
        }
        if (source != NULL) memcpy(y + r * d, source, d * sizeof *y);
    }
}

static const sp_rows *rows_of(const embed_block *self, const sp_batch *batch) {
    return &batch->rows[self->side];
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    return rows_of((const embed_block *)block, batch)->n_rows;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    (void)block;
    (void)batch;
    return (sp_cost){0}; /* moves bytes only */
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    (void)kept;
    (void)scratch;
    const embed_block *self = (const embed_block *)block;
    const sp_rows *rows = rows_of(self, batch);
    sp_embed_rows(self->embedding, y, rows->ids, rows->n_rows, x);
}

static void add_row(float *sum, const float *row, size_t d) {
    for (size_t i = 0; i < d; i++) sum[i] += row[i];
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    (void)x;
    (void)kept;
    (void)scratch;
    const embed_block *self = (const embed_block *)block;
    const sp_embedding *embedding = self->embedding;
    const sp_rows *rows = rows_of(self, batch);
    const size_t d = embedding->d_model, n_own = n_special(embedding);
    if (dx != NULL) memset(dx, 0, batch->n_taken * d * sizeof *dx);
    for (size_t r = 0; r < rows->n_rows; r++) {
        if (rows->ids[r] >= 0) continue;
        const size_t k = (size_t)(-1 - (int64_t)rows->ids[r]);
        if (k >= n_own)
            add_row(dx + (k - n_own) * d, dy + r * d, d);
        else if (!embedding->special->is_frozen)
            add_row(embedding->special->grad + k * d, dy + r * d, d);
    }
    if (embedding->trained != NULL)
        sp_embedding_scatter_add(embedding->trained->grad, dy, rows->ids, rows->n_rows, d);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "embed",
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_embed_block_create(sp_block **block, const sp_embedding *embedding, sp_side side,
                                bool has_input) {
    embed_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for an embedding");
    *self = (embed_block){
        .block = {&kind, has_input ? embedding->d_model : 0, embedding->d_model},
        .embedding = embedding,
        .side = side,
    };
    *block = &self->block;
    return SP_OK;
}
