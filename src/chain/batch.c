#include "chain/batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void sp_batch_clear(sp_batch *batch) {
    for (int side = 0; side < SP_N_SIDES; side++)
        batch->rows[side].n_rows = batch->rows[side].n_seqs = 0;
    batch->n_taken = 0;
    memset(batch->loss_sum, 0, sizeof batch->loss_sum);
    memset(batch->n_targets, 0, sizeof batch->n_targets);
    memset(batch->n_correct, 0, sizeof batch->n_correct);
}

static sp_status grow(void *array, size_t capacity, size_t item_bytes) {
    void **place = array;
    void *grown = realloc(*place, capacity * item_bytes);
    if (grown == NULL)
        return sp_fail(SP_FAILURE, "no memory: %zu bytes for a batch", capacity * item_bytes);
    *place = grown;
    return SP_OK;
}

/* The next capacity: doubling, so that a batch that is refilled soon stops growing. */
static size_t next_capacity(size_t capacity) { return capacity < 256 ? 256 : 2 * capacity; }

sp_status sp_batch_add_seq(sp_batch *batch, sp_side side, int32_t parent, uint64_t sample,
                           int32_t *seq) {
    sp_rows *rows = &batch->rows[side];
    assert(parent < (int32_t)rows->n_seqs);
    if (rows->n_seqs == rows->seq_capacity) {
        const size_t capacity = next_capacity(rows->seq_capacity);
        SP_TRY(grow(&rows->seqs, capacity, sizeof *rows->seqs));
        SP_TRY(grow(&rows->samples, capacity, sizeof *rows->samples));
        rows->seq_capacity = capacity;
    }
    rows->seqs[rows->n_seqs] = (sp_attention_seq){.begin = rows->n_rows, .parent = parent};
    rows->samples[rows->n_seqs] = sample;
    *seq = (int32_t)rows->n_seqs++;
    return SP_OK;
}

sp_status sp_batch_add_row(sp_batch *batch, sp_side side, int32_t id) {
    sp_rows *rows = &batch->rows[side];
    assert(rows->n_seqs > 0);
    if (rows->n_rows == rows->row_capacity) {
        const size_t capacity = next_capacity(rows->row_capacity);
        SP_TRY(grow(&rows->ids, capacity, sizeof *rows->ids));
        SP_TRY(grow(&rows->positions, capacity, sizeof *rows->positions));
        SP_TRY(grow(&rows->rope_rows, capacity, sizeof *rows->rope_rows));
        SP_TRY(grow(&rows->targets, capacity, sizeof *rows->targets));
        SP_TRY(grow(&rows->target_loss, capacity, sizeof *rows->target_loss));
        rows->row_capacity = capacity;
    }
    sp_attention_seq *seq = &rows->seqs[rows->n_seqs - 1];
    const size_t before = seq->parent == SP_NO_PARENT ? 0 : rows->seqs[seq->parent].len;
    rows->ids[rows->n_rows] = id;
    rows->positions[rows->n_rows] = (uint32_t)(before + seq->len);
    rows->rope_rows[rows->n_rows] = 0;
    rows->targets[rows->n_rows] = SP_NO_TARGET;
    rows->target_loss[rows->n_rows] = 0;
    rows->n_rows++;
    seq->len++;
    return SP_OK;
}

void sp_batch_set_target(sp_batch *batch, sp_side side, int32_t seq, int32_t target, sp_loss loss) {
    sp_rows *rows = &batch->rows[side];
    const sp_attention_seq *which = &rows->seqs[seq];
    assert(which->len > 0);
    const size_t last = which->begin + which->len - 1;
    rows->targets[last] = target;
    rows->target_loss[last] = (uint8_t)loss;
}

sp_status sp_batch_take_last_rows(sp_batch *batch, size_t n_rows) {
    const size_t n = batch->rows[SP_ENCODER].n_rows;
    assert(n_rows > 0 && n_rows <= n);
    if (batch->n_taken == batch->taken_capacity) {
        const size_t capacity = next_capacity(batch->taken_capacity);
        SP_TRY(grow(&batch->taken, capacity, sizeof *batch->taken));
        SP_TRY(grow(&batch->taken_rows, capacity, sizeof *batch->taken_rows));
        batch->taken_capacity = capacity;
    }
    batch->taken[batch->n_taken] = n - n_rows;
    batch->taken_rows[batch->n_taken++] = n_rows;
    return SP_OK;
}

void sp_batch_free(sp_batch *batch) {
    for (int side = 0; side < SP_N_SIDES; side++) {
        sp_rows *rows = &batch->rows[side];
        free(rows->seqs);
        free(rows->samples);
        free(rows->ids);
        free(rows->positions);
        free(rows->rope_rows);
        free(rows->targets);
        free(rows->target_loss);
    }
    free(batch->taken);
    free(batch->taken_rows);
    *batch = (sp_batch){0};
}
