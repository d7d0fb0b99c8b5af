#include "tests/gradient/differences.h"

#include "tests/check.h"
#include "tests/values.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* A difference of the fourth order. */
static double difference(float *value, float step, double (*loss)(void *subject), void *subject) {
    static const float places[4] = {-2, -1, 1, 2};
    const float middle = *value;
    double l[4];
    for (size_t i = 0; i < 4; i++) {
        *value = middle + places[i] * step;
        l[i] = loss(subject);
    }
    *value = middle;
    return (8 * (l[2] - l[1]) - (l[3] - l[0])) / (12 * (double)step);
}

/* A wide step is cut off early, a narrow one drowns in rounding: where two neighbours agree best,
   neither is the case. */
double slope_of(float *value, double (*loss)(void *subject), void *subject) {
    double before = difference(value, 0x1p-5F, loss, subject), slope = before, least = INFINITY;
    for (float step = 0x1p-6F; step >= 0x1p-10F; step /= 2) {
        const double now = difference(value, step, loss, subject);
        if (fabs(now - before) < least) {
            least = fabs(now - before);
            slope = (now + before) / 2;
        }
        before = now;
    }
    return slope;
}

void check_slopes(const char *name, float *values, const float *grad, size_t n, size_t stride,
                  double (*loss)(void *subject), void *subject) {
    omp_set_num_threads(1); /* threads cost more than so small a pass */
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)grad[i]));
    if (n > 0 && !(most > 1e-3)) fail_msg("%s: gradients of at most %g show nothing", name, most);
    for (size_t i = 0; i < n; i += stride) {
        const double slope = slope_of(&values[i], loss, subject), got = (double)grad[i];
        if (!(fabs(got - slope) <= DIFFERENCE_TOLERANCE * most))
            fail_msg("%s[%zu]: gradient %g, difference %g, greatest gradient %g", name, i, got,
                     slope, most);
    }
}

void fill_params(sp_params *params, uint32_t seed) {
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *p = params->entries[i];
        fill_values(p->value, p->n_values, seed + (uint32_t)i);
        const float scale = sqrtf(3 / (float)p->shape[p->n_dims - 1]);
        for (size_t k = 0; k < p->n_values; k++)
            p->value[k] = p->n_dims == 2 ? scale * p->value[k] : 1 + 0.3F * p->value[k];
    }
}

typedef struct alone {
    const sp_block *block;
    sp_batch *batch;
    const float *x;
    float *y, *weights; /* [n_out_rows, n_out] */
    size_t n_y;
    char *kept;
    size_t n_kept;
    sp_arena scratch;
} alone;

/* 64-byte aligned and of exactly so many bytes, so that sanitizers see what goes beyond. */
static void *exact_bytes(size_t n_bytes) {
    void *bytes = NULL;
    assert_int_equal(posix_memalign(&bytes, 64, n_bytes > 0 ? n_bytes : 1), 0);
    memset(bytes, 0xFF, n_bytes); /* NaN as floats: nothing may be read before it is written */
    return bytes;
}

static double loss_alone(void *subject) {
    alone *a = subject;
    memset(a->batch->loss_sum, 0, sizeof a->batch->loss_sum);
    memset(a->batch->n_targets, 0, sizeof a->batch->n_targets);
    memset(a->kept, 0xFF, a->n_kept);
    a->block->kind->forward(a->block, a->batch, a->y, a->x, a->kept, &a->scratch);
    assert_int_equal(a->scratch.used == 0 || a->scratch.used <= a->scratch.capacity, 1);
    a->scratch.used = 0;
    double sum = 0;
    for (size_t i = 0; i < a->n_y; i++) sum += (double)a->weights[i] * (double)a->y[i];
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        sum += (double)a->batch->loss_scale[loss] * a->batch->loss_sum[loss];
    return sum;
}

void check_block(const sp_block *block, sp_batch *batch, float *x, size_t n_in_rows,
                 sp_params *params) {
    const sp_cost cost = block->kind->cost(block, batch);
    const size_t n_x = x != NULL ? n_in_rows * block->n_in : 0;
    alone a = {.block = block,
               .batch = batch,
               .x = x,
               .n_y = block->kind->n_out_rows(block, batch) * block->n_out,
               .n_kept = cost.bytes_kept,
               .scratch = {.base = exact_bytes(cost.bytes_scratch),
                           .capacity = sp_arena_bytes(cost.bytes_scratch)}};
    a.y = exact_bytes(a.n_y * sizeof *a.y);
    a.weights = malloc((a.n_y + 1) * sizeof *a.weights);
    a.kept = exact_bytes(a.n_kept);
    float *dx = x != NULL ? exact_bytes(n_x * sizeof *dx) : NULL;
    float *dy = malloc((a.n_y + 1) * sizeof *dy);
    fill_values(a.weights, a.n_y, 77);
    memcpy(dy, a.weights, a.n_y * sizeof *dy);
    for (size_t i = 0; i < params->n_values; i++) params->grads[i] = 1;

    (void)loss_alone(&a);
    block->kind->backward(block, batch, dx, a.n_y > 0 ? dy : NULL, x, a.kept, &a.scratch);
    a.scratch.used = 0;

    if (x != NULL) check_slopes("x", x, dx, n_x, 1, loss_alone, &a);
    for (size_t i = 0; i < params->n_entries; i++) {
        sp_param *p = params->entries[i];
        for (size_t k = 0; k < p->n_values; k++) p->grad[k] -= 1;
        if (!p->is_frozen) check_slopes(p->name, p->value, p->grad, p->n_values, 1, loss_alone, &a);
        for (size_t k = 0; k < p->n_values && p->is_frozen; k++) assert_true(p->grad[k] == 0);
    }
    free(dy);
    free(dx);
    free(a.kept);
    free(a.weights);
    free(a.y);
    free(a.scratch.base);
}
