/* Times training steps of stage 2: segments of 256 tokens at 4x, both objectives, SmolLM2-135M as
   encoder (LoRA r=64, or all weights) and as decoder, f32, random tokens. One JSON line:

       bench_step MODEL.gguf MICRO_BATCH STEPS lora|full

   best and median context tokens/s, peak resident bytes, the step's FLOP/s, and beside it this
   machine's f32 GEMM rate on one of the step's own shapes. */
#include "base/clock.h"
#include "io/model_source.h"
#include "pcc/compressor.h"
#include "run/optimizer.h"
#include "tensor/gemm.h"
#include "tensor/vector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { SEGMENT = 256, RATIO = 4, MOST_STEPS = 64 };

static void must(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "bench_step: %s\n", sp_message());
    exit((int)status);
}

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525U + 1013904223U; }

static void fill_batch(sp_batch *batch, const sp_layout *layout, size_t n_samples,
                       uint32_t *state) {
    sp_batch_clear(batch);
    batch->is_training = true;
    for (size_t i = 0; i < n_samples; i++) {
        int32_t ids[2 * SEGMENT];
        for (size_t k = 0; k < 2 * SEGMENT; k++) ids[k] = (int32_t)(next_random(state) >> 17);
        must(sp_layout_add_sample(layout, batch,
                                  &(sp_sample){.encoder_ids = ids,
                                               .n_encoder_ids = SEGMENT,
                                               .decoder_ids = ids,
                                               .n_decoder_ids = SEGMENT,
                                               .next_ids = ids + SEGMENT,
                                               .n_next_ids = SEGMENT,
                                               .reconstructs = true,
                                               .completes = true}));
    }
    const float targets = (float)(n_samples * (SEGMENT + 1));
    batch->loss_scale[SP_RECONSTRUCTION] = batch->loss_scale[SP_COMPLETION] = 0.5F / targets;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The machine's rate on the layers' largest product, best of several. */
static double gemm_rate(void) {
    enum { M = 2560, N = 1536, K = 576, RUNS = 8 };
    float *x = calloc((size_t)M * K, sizeof *x), *w = calloc((size_t)N * K, sizeof *w);
    float *y = calloc((size_t)M * N, sizeof *y);
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const double begin_s = sp_clock_seconds();
        sp_gemm_nt((sp_gemm){.m = M, .n = N, .k = K, .alpha = 1}, y, N, x, K, w, K);
        const double rate = 2.0 * M * N * K / (sp_clock_seconds() - begin_s);
        if (rate > best) best = rate;
    }
    free(x);
    free(w);
    free(y);
    return best;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: bench_step MODEL MICRO_BATCH STEPS lora|full\n");
        return SP_USAGE;
    }
    const size_t n_samples = (size_t)atoi(argv[2]), n_steps = (size_t)atoi(argv[3]);
    const bool is_full = strcmp(argv[4], "full") == 0;
    sp_model_source source = {0};
    sp_weights weights = {0};
    must(sp_model_source_open(&source, argv[1]));
    must(sp_weights_load(&weights, &source.tensors, source.config, SP_PRECISION_F32, SP_WEIGHTS_ALL,
                         argv[1]));
    sp_compressor_options options = {
        .encoder = &weights,
        .decoder = &weights,
        .d_encoder = weights.config.d_model,
        .d_decoder = weights.config.d_model,
        .encoder_tensors = &source.tensors,
        .training = is_full ? SP_TRAIN_FULL : SP_TRAIN_LORA,
        .lora = {.rank = 64, .alpha = 64},
        .memory_tokens = SEGMENT / RATIO,
    };
    for (int role = 0; role < SP_N_ROLES; role++) options.lora.targets[role] = true;
    sp_compressor *c = NULL;
    sp_optimizer optimizer = {0};
    must(sp_compressor_create(&c, &options));
    must(sp_optimizer_create(&optimizer, &c->params, 0, 1));
    const sp_run_config config = {.train = {.grad_clip = 0.5}};
    const sp_layout layout = {.segment_tokens = SEGMENT, .ratio = RATIO, .bos = 1, .eos = 2};

    sp_batch batch = {0};
    sp_pass pass = {0};
    sp_workspace workspace = {0};
    const size_t n_blocks = c->chain.n_blocks;
    double seconds[MOST_STEPS], flop = 0;
    uint32_t state = 1;
    for (size_t step = 0; step <= n_steps && step < MOST_STEPS; step++) { /* the first warms up */
        const double begin_s = sp_clock_seconds();
        fill_batch(&batch, &layout, n_samples, &state);
        must(sp_compressor_reserve(c, &batch, 0, n_blocks, &pass, &workspace));
        memset(c->params.grads, 0, c->params.n_values * sizeof *c->params.grads);
        (void)sp_pass_forward(&pass, &c->chain, 0, n_blocks, &batch, NULL, &workspace);
        (void)sp_pass_backward(&pass, &c->chain, 0, n_blocks, &batch, NULL, &workspace);
        const double squares = sp_vector_sum_squares(c->params.grads, c->params.n_values);
        sp_optimizer_step(&optimizer, &c->params, c->params.grads, &config, step + 1, 1e-4,
                          sqrt(squares));
        flop = sp_chain_training_flop(&c->chain, &batch);
        if (step > 0) seconds[step - 1] = sp_clock_seconds() - begin_s;
    }
    qsort(seconds, n_steps, sizeof *seconds, compare);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    const double tokens = (double)(n_samples * SEGMENT);
    printf("{\"tokens_per_second_best\":%.2f,\"tokens_per_second_median\":%.2f,"
           "\"peak_rss_bytes\":%ld,\"flops_per_second\":%.4g,\"gemm_flops_per_second\":%.4g}\n",
           tokens / seconds[0], tokens / seconds[n_steps / 2], usage.ru_maxrss * 1024,
           flop / seconds[0], gemm_rate());
    sp_workspace_release(&workspace);
    sp_pass_release(&pass);
    sp_batch_free(&batch);
    sp_optimizer_release(&optimizer);
    sp_compressor_destroy(c);
    sp_weights_free(&weights);
    sp_model_source_close(&source);
    return 0;
}
