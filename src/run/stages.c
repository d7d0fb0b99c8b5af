#include "run/stages.h"

#include "base/clock.h"
#include "base/memory.h"
#include "run/encoder_states.h"
#include "run/models.h"
#include "tensor/linear.h"

#include <stdlib.h>
#include <string.h>

void sp_stages_free(sp_stages *stages) {
    free(stages->has_block);
    free(stages->backward_s);
    free(stages->forward_s);
    free(stages->stages);
    *stages = (sp_stages){0};
}

/* ---- costs ---- */

/* Seconds of each block for a full micro-batch: forward [n_blocks], then backward. */
static sp_status predict(double *seconds, const sp_outline *outline, const sp_run_config *config,
                         const double *rates) {
    const sp_chain *chain = &outline->compressor->chain;
    const bool has_states = sp_encoder_states_are_used(config); /* then the encoder is not run */
    sp_batch batch = {0};
    const sp_status status = sp_outline_fill(outline, &batch, config, config->train.micro_batch);
    for (size_t i = 0; status == SP_OK && i < chain->n_blocks; i++) {
        const sp_cost cost = chain->blocks[i]->kind->cost(chain->blocks[i], &batch);
        const double rate = rates[i > outline->compressor->encoder_end];
        if (i >= outline->compressor->encoder_end || !has_states)
            seconds[i] = cost.flop_forward / rate;
        if (i >= outline->compressor->first_trained)
            seconds[chain->n_blocks + i] = cost.flop_backward / rate;
    }
    sp_batch_free(&batch);
    return status;
}

enum { ROWS = 512, WIDTH = 768, N_TIMES = 4 };

static sp_status measure_rate(double *rate, sp_precision precision) {
    void *weight = NULL, *x = NULL, *y = NULL, *scratch = NULL;
    sp_linear *linear = NULL;
    sp_status status = sp_alloc_array(&weight, WIDTH * WIDTH, sizeof(float), "a measurement");
    const sp_tensor tensor = {
        .data = weight, .dtype = SP_F32, .n_dims = 2, .shape = {WIDTH, WIDTH}};
    if (status == SP_OK) status = sp_linear_create(&linear, &tensor, NULL, precision);
    if (status == SP_OK) status = sp_alloc_array(&x, ROWS * WIDTH, sizeof(float), "a measurement");
    if (status == SP_OK) status = sp_alloc_array(&y, ROWS * WIDTH, sizeof(float), "a measurement");
    if (status == SP_OK)
        status = sp_alloc(&scratch, sp_linear_scratch_bytes(linear, ROWS), "a measurement");
    double best = 1e30; /* the first time warms up */
    for (int i = 0; status == SP_OK && i < N_TIMES; i++) {
        const double begin_s = sp_clock_seconds();
        sp_linear_forward(linear, y, x, ROWS, scratch);
        const double seconds = sp_clock_seconds() - begin_s;
        if (seconds < best) best = seconds;
    }
    *rate = 2.0 * ROWS * WIDTH * WIDTH / best;
    free(scratch);
    free(y);
    free(x);
    sp_linear_destroy(linear);
    free(weight);
    return status;
}

sp_status sp_stages_measure_rates(double *rates, const sp_run_config *config) {
    sp_precision precisions[2];
    sp_models_precisions(config, &precisions[0], &precisions[1]);
    SP_TRY(measure_rate(&rates[0], precisions[0]));
    if (precisions[1] != precisions[0]) return measure_rate(&rates[1], precisions[1]);
    rates[1] = rates[0];
    return SP_OK;
}

/* ---- the cut ---- */

static bool is_folded(const sp_outline *outline, const sp_run_config *config,
                      size_t pipeline_size) {
    if (pipeline_size == 1) return false;
    if (config->parallel.cut != SP_CUT_AUTO) return config->parallel.cut == SP_CUT_FOLDED;
    return outline->shares_weights;
}

static sp_status allocate(sp_stages *stages) {
    void *list = NULL, *forward = NULL, *backward = NULL, *has = NULL;
    SP_TRY(sp_alloc_array(&list, stages->n_stages, sizeof(sp_stage), "stages"));
    stages->stages = list;
    SP_TRY(sp_alloc_array(&forward, stages->n_stages, sizeof(double), "stages"));
    stages->forward_s = forward;
    SP_TRY(sp_alloc_array(&backward, stages->n_stages, sizeof(double), "stages"));
    stages->backward_s = backward;
    SP_TRY(sp_alloc_array(&has, stages->n_blocks, sizeof(bool), "stages"));
    stages->has_block = has;
    return SP_OK;
}

static sp_status cut(sp_stages *stages, const sp_outline *outline, const double *seconds,
                     double *sums) {
    const size_t n = stages->n_blocks;
    for (size_t i = 0; i < n; i++) sums[i] = seconds[i] + seconds[n + i];
    SP_TRY(allocate(stages));
    SP_TRY(stages->n_stages > stages->n_ranks
               ? sp_cut_folded(stages->stages, stages->n_ranks, sums, n,
                               outline->compressor->encoder_end + 1)
               : sp_cut(stages->stages, stages->n_stages, sums, n));
    for (size_t s = 0; s < stages->n_stages; s++) {
        stages->forward_s[s] = sp_stage_cost(&stages->stages[s], seconds);
        stages->backward_s[s] = sp_stage_cost(&stages->stages[s], seconds + n);
        if (s % stages->n_ranks != stages->rank) continue;
        for (size_t i = stages->stages[s].begin; i < stages->stages[s].end; i++)
            stages->has_block[i] = true;
    }
    return SP_OK;
}

sp_status sp_stages_cut(sp_stages *stages, const sp_outline *outline, const sp_run_config *config,
                        size_t pipeline_size, size_t pipeline_rank, const double *rates) {
    const size_t n = outline->compressor->chain.n_blocks;
    sp_stages made = {.n_stages = is_folded(outline, config, pipeline_size) ? 2 * pipeline_size
                                                                            : pipeline_size,
                      .n_ranks = pipeline_size,
                      .rank = pipeline_rank,
                      .n_blocks = n};
    void *seconds = NULL;
    SP_TRY(sp_alloc_array(&seconds, 3 * n, sizeof(double), "the blocks' costs"));
    sp_status status = predict(seconds, outline, config, rates);
    if (status == SP_OK) status = cut(&made, outline, seconds, (double *)seconds + 2 * n);
    free(seconds);
    if (status != SP_OK)
        sp_stages_free(&made);
    else
        *stages = made;
    return status;
}

sp_pipeline_shape sp_stages_shape(const sp_stages *stages) {
    return (sp_pipeline_shape){.n_stages = stages->n_stages,
                               .n_ranks = stages->n_ranks,
                               .forward_s = stages->forward_s,
                               .backward_s = stages->backward_s};
}

sp_status sp_stages_to_json(json_t **object, const sp_stages *stages, size_t data_size) {
    json_t *list = json_array();
    for (size_t s = 0; s < stages->n_stages; s++)
        json_array_append_new(list, json_pack("[I, I]", (json_int_t)stages->stages[s].begin,
                                              (json_int_t)stages->stages[s].end));
    *object = json_pack("{s:I, s:I, s:o}", "pipeline", (json_int_t)stages->n_ranks, "data",
                        (json_int_t)data_size, "cut", list);
    if (*object != NULL && json_array_size(list) == stages->n_stages) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for a checkpoint's manifest");
}
