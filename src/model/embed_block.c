#include "model/embed_block.h"

#include "tensor/embedding.h"
#include "tensor/gemm.h"

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

static size_t rank_of(const sp_embedding *embedding) {
    return embedding->lora_a != NULL ? embedding->lora_a->shape[0] : 0;
}

/* Columns ids of A, as rows: inner [n_rows, rank]; zero where the row is no token. */
static void gather_inner(const sp_embedding *embedding, float *inner, const int32_t *ids,
                         size_t n_rows) {
    const size_t rank = rank_of(embedding), n_ids = embedding->lora_a->shape[1];
    const float *a = embedding->lora_a->value;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < rank; k++)
            inner[r * rank + k] = ids[r] >= 0 ? a[k * n_ids + (size_t)ids[r]] : 0;
}

/* y += s inner B^T: rows without a token get zeros. */
static void add_adapter(const sp_embedding *embedding, float *y, const float *inner,
                        size_t n_rows) {
    const size_t rank = rank_of(embedding), d = embedding->d_model;
    const sp_gemm size = {
        .m = n_rows, .n = d, .k = rank, .alpha = embedding->lora_scale, .beta = 1};
    sp_gemm_nt(size, y, d, inner, rank, embedding->lora_b->value, rank);
}

static void add_row(float *restrict sum, const float *restrict row, size_t d) {
    for (size_t i = 0; i < d; i++) sum[i] += row[i];
}

static void read_rows(const sp_embedding *embedding, float *y, const sp_embed_rows *rows) {
    const size_t d = embedding->d_model, n_own = n_special(embedding);
    const int32_t *ids = rows->ids;
    if (embedding->trained == NULL) sp_embedding_read(y, embedding->frozen, ids, rows->n_rows);
    for (size_t r = 0; r < rows->n_rows; r++) {
        const float *source = NULL;
        if (ids[r] < 0) {
            const size_t k = (size_t)(-1 - (int64_t)ids[r]);
            source = k < n_own ? embedding->special->value + k * d : rows->x + (k - n_own) * d;
        } else if (embedding->trained != NULL) {
            source = embedding->trained->value + (size_t)ids[r] * d;
        }
        if (source != NULL) memcpy(y + r * d, source, d * sizeof *y);
    }
}

/* A row at a time, through one of scratch where the table lies in a file. */
static void add_positions(const sp_embedding *embedding, float *y, const uint32_t *positions,
                          size_t n_rows, sp_arena *scratch) {
    const size_t d = embedding->d_model, used = scratch->used;
    float *row = sp_arena_push(scratch, d * sizeof *row);
    for (size_t r = 0; r < n_rows; r++) {
        const float *source = row;
        if (embedding->trained_positions != NULL)
            source = embedding->trained_positions->value + positions[r] * d;
        else
            sp_tensor_read_rows(embedding->frozen_positions, row, positions[r], 1);
        add_row(y + r * d, source, d);
    }
    scratch->used = used;
}

static bool has_positions(const sp_embedding *embedding) {
    return embedding->frozen_positions != NULL || embedding->trained_positions != NULL;
}

/* `inner` [n_rows, rank] is for the adapter. */
static void embed(const sp_embedding *embedding, float *y, float *inner, const sp_embed_rows *rows,
                  sp_arena *scratch) {
    read_rows(embedding, y, rows);
    if (embedding->lora_a != NULL) {
        gather_inner(embedding, inner, rows->ids, rows->n_rows);
        add_adapter(embedding, y, inner, rows->n_rows);
    }
    if (has_positions(embedding))
        add_positions(embedding, y, rows->positions, rows->n_rows, scratch);
}

static size_t inner_bytes(const sp_embedding *embedding, size_t n_rows) {
    return sp_arena_bytes(n_rows * rank_of(embedding) * sizeof(float));
}

size_t sp_embed_scratch_bytes(const sp_embedding *embedding, size_t n_rows) {
    return inner_bytes(embedding, n_rows) + sp_arena_bytes(embedding->d_model * sizeof(float));
}

void sp_embed(const sp_embedding *embedding, float *y, const sp_embed_rows *rows,
              sp_arena *scratch) {
    const size_t used = scratch->used;
    embed(embedding, y, sp_arena_push(scratch, inner_bytes(embedding, rows->n_rows)), rows,
          scratch);
    scratch->used = used;
}

static const sp_rows *rows_of(const embed_block *self, const sp_batch *batch) {
    return &batch->rows[self->side];
}

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    return rows_of((const embed_block *)block, batch)->n_rows;
}

static size_t n_in_rows(const sp_block *block, const sp_batch *batch) {
    return block->n_in > 0 ? batch->n_taken : 0;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const embed_block *self = (const embed_block *)block;
    const sp_embedding *embedding = self->embedding;
    const size_t n = rows_of(self, batch)->n_rows;
    const double adapter = 2 * (double)n * (double)rank_of(embedding) * (double)embedding->d_model;
    return (sp_cost){.flop_forward = adapter,
                     .flop_backward = 2 * adapter,
                     .bytes_kept = inner_bytes(embedding, n),
                     .bytes_scratch = sp_embed_scratch_bytes(embedding, n)};
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    const embed_block *self = (const embed_block *)block;
    const sp_rows *rows = rows_of(self, batch);
    const sp_embed_rows wanted = {rows->ids, rows->positions, rows->n_rows, x};
    embed(self->embedding, y, (float *)(void *)kept, &wanted, scratch);
}

/* To the rows that the block before made, and to the special rows. */
static void scatter_other_rows(const sp_embedding *embedding, const sp_rows *rows, float *dx,
                               const float *dy) {
    const size_t d = embedding->d_model, n_own = n_special(embedding);
    for (size_t r = 0; r < rows->n_rows; r++) {
        if (rows->ids[r] >= 0) continue;
        const size_t k = (size_t)(-1 - (int64_t)rows->ids[r]);
        if (k >= n_own)
            add_row(dx + (k - n_own) * d, dy + r * d, d);
        else if (!embedding->special->is_frozen)
            add_row(embedding->special->grad + k * d, dy + r * d, d);
    }
}

/* dB += s dy^T inner, where rows without a token have zeros; dA[:, id] += s B^T dy[r]. A row of A
   belongs to one thread, which meets the tokens in their order. */
static void adapter_backward(const sp_embedding *embedding, const sp_rows *rows, const float *dy,
                             const float *inner, sp_arena *scratch) {
    const size_t rank = rank_of(embedding), d = embedding->d_model, n = rows->n_rows;
    const size_t n_ids = embedding->lora_a->shape[1], used = scratch->used;
    const float scale = embedding->lora_scale;
    float *dinner = sp_arena_push(scratch, inner_bytes(embedding, n));
    sp_gemm_tn((sp_gemm){.m = d, .n = rank, .k = n, .alpha = scale, .beta = 1},
               embedding->lora_b->grad, rank, dy, d, inner, rank);
    sp_gemm_nn((sp_gemm){.m = n, .n = rank, .k = d, .alpha = scale}, dinner, rank, dy, d,
               embedding->lora_b->value, rank);
    float *da = embedding->lora_a->grad;
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < rank; k++)
        for (size_t r = 0; r < n; r++)
            if (rows->ids[r] >= 0) da[k * n_ids + (size_t)rows->ids[r]] += dinner[r * rank + k];
    scratch->used = used;
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    (void)x;
    const embed_block *self = (const embed_block *)block;
    const sp_embedding *embedding = self->embedding;
    const sp_rows *rows = rows_of(self, batch);
    const size_t d = embedding->d_model;
    if (dx != NULL) memset(dx, 0, batch->n_taken * d * sizeof *dx);
    scatter_other_rows(embedding, rows, dx, dy);
    if (embedding->trained != NULL)
        sp_embedding_scatter_add(embedding->trained->grad, dy, rows->ids, rows->n_rows, d);
    if (embedding->lora_a != NULL)
        adapter_backward(embedding, rows, dy, (const float *)(const void *)kept, scratch);
    if (embedding->trained_positions != NULL)
        for (size_t r = 0; r < rows->n_rows; r++)
            add_row(embedding->trained_positions->grad + rows->positions[r] * d, dy + r * d, d);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "embed",
                                   .n_in_rows = n_in_rows,
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
