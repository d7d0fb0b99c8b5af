#include "run/refine.h"

#include "base/memory.h"
#include "tensor/adamw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sp_refiner_init(sp_refiner *refiner, sp_compressor *compressor, size_t n_steps) {
    *refiner = (sp_refiner){.compressor = compressor, .n_steps = n_steps};
    compressor->markers->is_frozen = true;
}

void sp_refiner_release(sp_refiner *r) {
    sp_pass_release(&r->pass);
    free(r->nll);
    free(r->best);
    free(r->v);
    free(r->m);
    *r = (sp_refiner){0};
}

static sp_status grow(void **block, size_t n, size_t item_bytes) {
    free(*block);
    *block = NULL;
    return sp_alloc_array(block, n, item_bytes, "refined slots");
}

static sp_status reserve(sp_refiner *r, const sp_batch *batch, size_t n_targets) {
    const size_t row_bytes = r->compressor->converter.out.n_out * sizeof(float);
    if (batch->n_taken > r->capacity) {
        r->capacity = 0;
        SP_TRY(grow((void **)&r->m, batch->n_taken, row_bytes));
        SP_TRY(grow((void **)&r->v, batch->n_taken, row_bytes));
        SP_TRY(grow((void **)&r->best, batch->n_taken, row_bytes));
        r->capacity = batch->n_taken;
    }
    if (n_targets > r->nll_capacity) {
        r->nll_capacity = 0;
        SP_TRY(grow((void **)&r->nll, n_targets, sizeof *r->nll));
        r->nll_capacity = n_targets;
    }
    memset(r->m, 0, batch->n_taken * row_bytes);
    memset(r->v, 0, batch->n_taken * row_bytes);
    return SP_OK;
}

/* The loss of each sample, and where it is the least so far, its slots. */
static void keep_best(const sp_refiner *r, const float *slots, const size_t *n_slots,
                      const size_t *n_targets, size_t n, double *least) {
    const size_t d = r->compressor->converter.out.n_out;
    const double *nll = r->nll;
    size_t slot = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t t = 0; t < n_targets[i]; t++) sum += nll[t];
        if (sum < least[i]) { /* so written, NaN is refused */
            least[i] = sum;
            memcpy(r->best + slot * d, slots + slot * d, n_slots[i] * d * sizeof *slots);
        }
        nll += n_targets[i];
        slot += n_slots[i];
    }
}

static sp_status forward(sp_refiner *r, sp_batch *batch, const float *slots,
                         sp_workspace *workspace) {
    const sp_chain *chain = &r->compressor->chain;
    const size_t begin = r->compressor->encoder_end + 1, end = chain->n_blocks;
    SP_TRY(sp_compressor_reserve(r->compressor, batch, begin, end, &r->pass, workspace));
    (void)sp_pass_forward(&r->pass, chain, begin, end, batch, slots, workspace);
    return SP_OK;
}

static double sum_of(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum;
}

static sp_status make_steps(sp_refiner *r, sp_batch *batch, float *slots, const size_t *n_slots,
                            const size_t *n_targets, size_t n, sp_workspace *workspace,
                            double *least, double *before) {
    const sp_chain *chain = &r->compressor->chain;
    const size_t begin = r->compressor->encoder_end + 1, end = chain->n_blocks;
    const size_t n_values = batch->n_taken * r->compressor->converter.out.n_out;
    sp_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_scale = 1};
    for (size_t step = 0; step <= r->n_steps; step++) {
        SP_TRY(forward(r, batch, slots, workspace));
        keep_best(r, slots, n_slots, n_targets, n, least);
        if (step == 0) *before = sum_of(least, n);
        if (step == r->n_steps) break; /* the last ones are only looked at */
        const float *gradient =
            sp_pass_backward(&r->pass, chain, begin, end, batch, NULL, workspace);
        adam.lr = SP_REFINE_LR * 0.5 * (1 + cos(M_PI * (double)step / (double)r->n_steps));
        sp_adamw_step(&adam, step + 1, slots, r->m, r->v, gradient, n_values);
    }
    return SP_OK;
}

sp_status sp_refine(sp_refiner *r, sp_batch *batch, float *slots, const size_t *n_slots,
                    const size_t *n_targets, size_t n, sp_workspace *workspace,
                    sp_refine_loss *loss) {
    const size_t d = r->compressor->converter.out.n_out;
    void *block = NULL;
    size_t n_all = 0;
    if (batch->n_taken == 0) return SP_OK;
    for (size_t i = 0; i < n; i++) n_all += n_targets[i];
    SP_TRY(reserve(r, batch, n_all));
    SP_TRY(sp_alloc_array(&block, n, sizeof(double), "losses"));
    double *least = block;
    for (size_t i = 0; i < n; i++) least[i] = (double)INFINITY;
    memcpy(r->best, slots, batch->n_taken * d * sizeof *slots);
    batch->is_training = true;
    batch->target_nll = r->nll;
    /* Adam sees no scale of the loss, and no segment another one's loss. */
    batch->loss_scale[SP_RECONSTRUCTION] = 1;
    double before = 0;
    const sp_status status =
        make_steps(r, batch, slots, n_slots, n_targets, n, workspace, least, &before);
    if (status == SP_OK) {
        loss->before += before;
        memcpy(slots, r->best, batch->n_taken * d * sizeof *slots);
        loss->after += sum_of(least, n);
        loss->n_targets += n_all;
    }
    batch->target_nll = NULL;
    batch->is_training = false;
    free(block);
    return status;
}
