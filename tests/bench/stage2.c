#include "tests/bench/stage2.h"

#include "base/memory.h"
#include "tensor/vector.h"
#include "tests/bench/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void load_weights(stage2 *s, const stage2_options *options) {
    bench_must(sp_model_source_open(&s->source, options->model));
    if (options->n_layers > 0 &&
        json_object_set_new(s->source.config, "num_hidden_layers",
                            json_integer((json_int_t)options->n_layers)) != 0)
        bench_must(sp_fail(SP_FAILURE, "no memory for a configuration"));
    bench_must(sp_weights_load(&s->weights, &s->source.tensors, s->source.config,
                               options->precision, SP_WEIGHTS_ALL, options->model));
}

void stage2_open(stage2 *s, const stage2_options *options) {
    *s = (stage2){.random = 1};
    load_weights(s, options);
    s->layout = (sp_layout){.segment_tokens = options->segment_tokens,
                            .ratio = options->segment_tokens / options->n_slots,
                            .bos = 1,
                            .eos = 2};
    sp_compressor_options compressor = {
        .encoder = &s->weights,
        .decoder = &s->weights,
        .d_encoder = s->weights.config.d_model,
        .d_decoder = s->weights.config.d_model,
        .encoder_tensors = &s->source.tensors,
        .training = options->training,
        .lora = {.rank = 64, .alpha = 64},
        .memory_tokens = options->n_slots,
    };
    for (int role = 0; role < SP_N_ROLES; role++) compressor.lora.targets[role] = true;
    bench_must(sp_compressor_create(&s->compressor, &compressor));
    sp_model_source_give_back(&s->source);
    bench_must(sp_optimizer_create(&s->optimizer, &s->compressor->params, 0, 1));
}

void stage2_close(stage2 *s) {
    sp_workspace_release(&s->workspace);
    sp_pass_release(&s->pass);
    sp_batch_free(&s->batch);
    sp_optimizer_release(&s->optimizer);
    sp_compressor_destroy(s->compressor);
    sp_weights_free(&s->weights);
    sp_model_source_close(&s->source);
}

/* With n_samples of a step's n_all. */
static void fill_batch(stage2 *s, size_t n_samples, size_t n_all) {
    const size_t n = s->layout.segment_tokens;
    void *room = NULL;
    bench_must(sp_alloc_array(&room, 2 * n, sizeof(int32_t), "a segment and the next"));
    int32_t *ids = room;
    sp_batch_clear(&s->batch);
    s->batch.is_training = true;
    for (size_t i = 0; i < n_samples; i++) {
        for (size_t k = 0; k < 2 * n; k++)
            ids[k] = (int32_t)((bench_random(&s->random) >> 8) % s->weights.config.vocab_size);
        bench_must(sp_layout_add_sample(&s->layout, &s->batch,
                                        &(sp_sample){.encoder_ids = ids,
                                                     .n_encoder_ids = n,
                                                     .decoder_ids = ids,
                                                     .n_decoder_ids = n,
                                                     .next_ids = ids + n,
                                                     .n_next_ids = n,
                                                     .reconstructs = true,
                                                     .completes = true}));
    }
    const float targets = (float)(n_all * (n + 1));
    s->batch.loss_scale[SP_RECONSTRUCTION] = s->batch.loss_scale[SP_COMPLETION] = 0.5F / targets;
    free(room);
}

/* As runs split a micro-batch: by the mean of a sample's rows, run/plan_node.h. */
static size_t pass_samples(stage2 *s, size_t n_samples) {
    const sp_chain *chain = &s->compressor->chain;
    double flop = 0, flop_rows = 0;
    fill_batch(s, 1, 1);
    for (size_t b = 0; b < chain->n_blocks; b++) {
        const sp_block *block = chain->blocks[b];
        const sp_cost cost = block->kind->cost(block, &s->batch);
        flop += cost.flop_forward + cost.flop_backward;
        flop_rows += (cost.flop_forward + cost.flop_backward) *
                     (double)block->kind->n_in_rows(block, &s->batch);
    }
    return sp_pass_samples(n_samples, flop_rows / flop);
}

/* Adds to the gradients; returns FLOP. */
static double run_pass(stage2 *s, size_t n_samples, size_t n_all) {
    sp_compressor *c = s->compressor;
    const size_t n_blocks = c->chain.n_blocks;
    fill_batch(s, n_samples, n_all);
    bench_must(sp_compressor_reserve(c, &s->batch, 0, n_blocks, &s->pass, &s->workspace));
    (void)sp_pass_forward(&s->pass, &c->chain, 0, n_blocks, &s->batch, NULL, &s->workspace);
    (void)sp_pass_backward(&s->pass, &c->chain, 0, n_blocks, &s->batch, NULL, &s->workspace);
    return sp_chain_training_flop(&c->chain, &s->batch);
}

double stage2_step(stage2 *s, size_t n_samples) {
    sp_compressor *c = s->compressor;
    const sp_run_config config = {.train = {.grad_clip = 0.5}};
    const size_t most = pass_samples(s, n_samples);
    double flop = 0;
    memset(c->params.grads, 0, c->params.n_values * sizeof *c->params.grads);
    for (size_t i = 0; i < n_samples; i += most)
        flop += run_pass(s, n_samples - i < most ? n_samples - i : most, n_samples);
    const double squares = sp_vector_sum_squares(c->params.grads, c->params.n_values);
    sp_optimizer_step(&s->optimizer, &c->params, c->params.grads, &config, ++s->step, 1e-4,
                      sqrt(squares));
    return flop;
}
