#include "model/adapted_linear.h"

#include "model/dropout.h"
#include "tensor/gemm.h"

#include <assert.h>

static const sp_linear *base_of(const sp_adapted_linear *linear) {
    return linear->trained != NULL ? linear->trained : linear->frozen;
}

static size_t rank_of(const sp_adapted_linear *linear) {
    return linear->lora_a != NULL ? linear->lora_a->shape[0] : 0;
}

static bool drops(const sp_adapted_linear *linear, const sp_rows *rows) {
    return rows != NULL && linear->lora_dropout > 0;
}

sp_status sp_adapted_linear_bind(sp_adapted_linear *linear) {
    if (linear->weight == NULL) return SP_OK;
    return sp_linear_wrap(&linear->trained, linear->weight->value,
                          linear->bias != NULL ? linear->bias->value : NULL, linear->n_out,
                          linear->n_in);
}

void sp_adapted_linear_release(sp_adapted_linear *linear) {
    sp_linear_destroy(linear->trained);
    linear->trained = NULL;
}

size_t sp_adapted_linear_inner_bytes(const sp_adapted_linear *linear, size_t n_rows) {
    return sp_arena_bytes(n_rows * rank_of(linear) * sizeof(float));
}

sp_cost sp_adapted_linear_cost(const sp_adapted_linear *linear, size_t n_rows) {
    const double rows = (double)n_rows;
    const double product = 2 * rows * (double)linear->n_in * (double)linear->n_out;
    const double adapter =
        2 * rows * (double)rank_of(linear) * (double)(linear->n_in + linear->n_out);
    const size_t adapter_bytes =
        rank_of(linear) == 0
            ? 0
            : sp_adapted_linear_inner_bytes(linear, n_rows) +
                  (linear->lora_dropout > 0 ? sp_arena_bytes(n_rows * linear->n_in * sizeof(float))
                                            : 0);
    return (sp_cost){
        .flop_forward = product + adapter,
        .flop_backward = product * (linear->weight != NULL ? 2 : 1) + 2 * adapter,
        .bytes_kept = sp_adapted_linear_inner_bytes(linear, n_rows),
        .bytes_scratch =
            adapter_bytes + sp_arena_bytes(sp_linear_scratch_bytes(base_of(linear), n_rows)),
    };
}

bool sp_adapted_linear_reads_input(const sp_adapted_linear *linear) {
    return linear->weight != NULL || linear->lora_a != NULL;
}

/* x, or its dropped version in scratch. */
static const float *adapter_input(const sp_adapted_linear *linear, const float *x, size_t n_rows,
                                  const sp_rows *rows, sp_arena *scratch) {
    if (!drops(linear, rows)) return x;
    assert(rows->n_rows == n_rows);
    float *dropped = sp_arena_push(scratch, n_rows * linear->n_in * sizeof(float));
    sp_dropout_forward(dropped, x, linear->n_in, rows, linear->module, linear->lora_dropout);
    return dropped;
}

static void base_forward(const sp_adapted_output *outputs, size_t n, const float *x, size_t n_rows,
                         sp_arena *scratch) {
    const size_t used = scratch->used;
    size_t most_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t n_bytes = sp_linear_scratch_bytes(base_of(outputs[i].linear), n_rows);
        if (n_bytes > most_bytes) most_bytes = n_bytes;
    }
    void *room = sp_arena_push(scratch, most_bytes);
    for (size_t i = 0; i < n; i++) {
        const sp_linear *base = base_of(outputs[i].linear);
        if (i == 0)
            sp_linear_forward(base, outputs[i].y, x, n_rows, room);
        else
            sp_linear_forward_after(base, base_of(outputs[i - 1].linear), outputs[i].y, x, n_rows,
                                    room);
    }
    scratch->used = used;
}

static void adapter_forward(const sp_adapted_output *output, const float *x, size_t n_rows,
                            const sp_rows *rows, sp_arena *scratch) {
    const sp_adapted_linear *linear = output->linear;
    const size_t rank = rank_of(linear), used = scratch->used;
    const float *in = adapter_input(linear, x, n_rows, rows, scratch);
    sp_gemm_nt((sp_gemm){.m = n_rows, .n = rank, .k = linear->n_in, .alpha = 1}, output->inner,
               rank, in, linear->n_in, linear->lora_a->value, linear->n_in);
    sp_gemm_nt(
        (sp_gemm){
            .m = n_rows, .n = linear->n_out, .k = rank, .alpha = linear->lora_scale, .beta = 1},
        output->y, linear->n_out, output->inner, rank, linear->lora_b->value, rank);
    scratch->used = used;
}

void sp_adapted_linear_forward_all(const sp_adapted_output *outputs, size_t n, const float *x,
                                   size_t n_rows, const sp_rows *rows, sp_arena *scratch) {
    base_forward(outputs, n, x, n_rows, scratch);
    for (size_t i = 0; i < n; i++)
        if (rank_of(outputs[i].linear) > 0) adapter_forward(&outputs[i], x, n_rows, rows, scratch);
}

void sp_adapted_linear_forward(const sp_adapted_linear *linear, float *y, float *inner,
                               const float *x, size_t n_rows, const sp_rows *rows,
                               sp_arena *scratch) {
    sp_adapted_linear_forward_all(&(sp_adapted_output){linear, y, inner}, 1, x, n_rows, rows,
                                  scratch);
}

static void adapter_backward(const sp_adapted_linear *linear, float *dx, const float *dy,
                             const float *x, const float *inner, size_t n_rows, const sp_rows *rows,
                             sp_arena *scratch) {
    const size_t rank = rank_of(linear), n_in = linear->n_in, n_out = linear->n_out;
    const float scale = linear->lora_scale;
    const size_t used = scratch->used;
    float *dinner = sp_arena_push(scratch, n_rows * rank * sizeof(float));
    sp_gemm_nn((sp_gemm){.m = n_rows, .n = rank, .k = n_out, .alpha = scale}, dinner, rank, dy,
               n_out, linear->lora_b->value, rank);
    sp_gemm_tn((sp_gemm){.m = n_out, .n = rank, .k = n_rows, .alpha = scale, .beta = 1},
               linear->lora_b->grad, rank, dy, n_out, inner, rank);
    const float *in = adapter_input(linear, x, n_rows, rows, scratch);
    sp_gemm_tn((sp_gemm){.m = rank, .n = n_in, .k = n_rows, .alpha = 1, .beta = 1},
               linear->lora_a->grad, n_in, dinner, rank, in, n_in);
    if (drops(linear, rows)) {
        float *din = (float *)in; /* ours: the dropped copy, no longer needed */
        sp_gemm_nn((sp_gemm){.m = n_rows, .n = n_in, .k = rank, .alpha = 1}, din, n_in, dinner,
                   rank, linear->lora_a->value, n_in);
        sp_dropout_backward(dx, din, n_in, rows, linear->module, linear->lora_dropout);
    } else {
        sp_gemm_nn((sp_gemm){.m = n_rows, .n = n_in, .k = rank, .alpha = 1, .beta = 1}, dx, n_in,
                   dinner, rank, linear->lora_a->value, n_in);
    }
    scratch->used = used;
}

void sp_adapted_linear_backward(const sp_adapted_linear *linear, float *dx, float beta,
                                const float *dy, const float *x, const float *inner, size_t n_rows,
                                const sp_rows *rows, sp_arena *scratch) {
    const size_t used = scratch->used;
    void *room = sp_arena_push(scratch, sp_linear_scratch_bytes(base_of(linear), n_rows));
    sp_linear_backward_input(base_of(linear), dx, beta, dy, n_rows, room);
    scratch->used = used;
    if (linear->weight != NULL)
        sp_linear_backward_weight(linear->weight->grad,
                                  linear->bias != NULL ? linear->bias->grad : NULL, dy, x, n_rows,
                                  linear->n_out, linear->n_in);
    if (rank_of(linear) > 0) adapter_backward(linear, dx, dy, x, inner, n_rows, rows, scratch);
}
