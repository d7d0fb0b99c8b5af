/* Times compression: the encoder's forward pass over segments of 256 random tokens with 64 memory
   tokens each (4x), in groups as `slotpress compress` makes them. One JSON line:

       bench_compress MODEL f32|bf16|int8 none|lora RUNS [SEGMENTS]

   rows/s, a segment being 320 rows, without reading tokens and writing slots; FLOP/s beside this
   machine's rate of matrix products; peak resident bytes. With `lora` the encoder has adapters of rank
   64 on all matrices, else it is the model as it is. */
#include "io/model_source.h"
#include "pcc/compressor.h"
#include "run/compress_work.h"
#include "tensor/dnnl_matmul.h"
#include "tests/bench/measure.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT = 256, N_SLOTS = 64, ROWS = SEGMENT + N_SLOTS };

typedef struct group {
    sp_batch batch;
    sp_workspace workspace;
    float *memory;
} group;

static void make_compressor(sp_compressor **compressor, const sp_weights *weights, bool has_lora) {
    sp_compressor_options options = {
        .encoder = weights,
        .d_encoder = weights->config.d_model,
        .d_decoder = weights->config.d_model,
        .training = has_lora ? SP_TRAIN_LORA : SP_TRAIN_NONE,
        .lora = {.rank = 64, .alpha = 64},
        .memory_tokens = N_SLOTS,
        .has_no_gradients = true,
    };
    for (int role = 0; role < SP_N_ROLES; role++) options.lora.targets[role] = true;
    bench_must(sp_compressor_create(compressor, &options));
    bench_must(sp_transformer_reserve((*compressor)->encoder, ROWS));
}

static void fill_group(group *g, size_t n_segments, size_t vocab_size, uint32_t *random) {
    const sp_layout layout = {.segment_tokens = SEGMENT, .ratio = SEGMENT / N_SLOTS};
    sp_batch_clear(&g->batch);
    for (size_t s = 0; s < n_segments; s++) {
        int32_t ids[SEGMENT];
        for (size_t i = 0; i < SEGMENT; i++)
            ids[i] = (int32_t)((bench_random(random) >> 8) % vocab_size);
        bench_must(sp_layout_add_encoder(&layout, &g->batch, ids, SEGMENT, 0));
    }
}

static double forward_flop(const sp_compressor *c, const sp_batch *batch) {
    double flop = 0;
    for (size_t i = 0; i < c->encoder_end; i++)
        flop += c->chain.blocks[i]->kind->cost(c->chain.blocks[i], batch).flop_forward;
    return flop;
}

/* As run/compress_blocks.c has it: a group a thread, but where oneDNN's scratch belongs to one. */
static size_t threads_at_once(sp_precision precision) {
    if (precision == SP_PRECISION_INT8 && sp_dnnl_computes_int8()) return 1;
    if (precision == SP_PRECISION_BF16 && sp_linear_computes_bf16()) return 1;
    return (size_t)omp_get_max_threads();
}

static void encode_all(sp_compressor *c, group *groups, size_t n_groups, size_t n_threads) {
    (void)n_threads; /* without OpenMP */
#pragma omp parallel for schedule(dynamic) num_threads((int)n_threads)
    for (size_t g = 0; g < n_groups; g++)
        bench_must(
            sp_compressor_encode(c, &groups[g].batch, groups[g].memory, &groups[g].workspace));
}

int main(int argc, char **argv) {
    sp_precision precision = SP_PRECISION_F32;
    const size_t n_runs = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    const size_t n_asked = argc > 5 ? strtoul(argv[5], NULL, 10) : SP_COMPRESS_GROUP;
    if (argc < 5 || n_runs == 0 || n_asked == 0 || !bench_read_precision(&precision, argv[2])) {
        fprintf(stderr, "usage: bench_compress MODEL f32|bf16|int8 none|lora RUNS [SEGMENTS]\n");
        return SP_USAGE;
    }
    const bool has_lora = strcmp(argv[3], "lora") == 0;
    const size_t n_threads = threads_at_once(precision);
    /* Whole groups, as many for each thread. */
    const size_t a_turn = n_threads * SP_COMPRESS_GROUP;
    const size_t n_segments = (n_asked + a_turn - 1) / a_turn * a_turn;
    const size_t n_groups = n_segments / SP_COMPRESS_GROUP;
    sp_model_source source = {0};
    sp_weights weights = {0};
    sp_compressor *compressor = NULL;
    bench_must(sp_model_source_open(&source, argv[1]));
    bench_must(sp_weights_load(&weights, &source.tensors, source.config, precision, SP_WEIGHTS_BODY,
                               argv[1]));
    make_compressor(&compressor, &weights, has_lora);
    void *room = NULL;
    bench_must(sp_alloc_array(&room, n_groups, sizeof(group), "groups"));
    group *groups = room;
    uint32_t random = 1;
    double flop = 0;
    for (size_t g = 0; g < n_groups; g++) {
        fill_group(&groups[g], SP_COMPRESS_GROUP, weights.config.vocab_size, &random);
        flop += forward_flop(compressor, &groups[g].batch);
        bench_must(sp_alloc_array(&room, SP_COMPRESS_GROUP * N_SLOTS * weights.config.d_model,
                                  sizeof(float), "memory"));
        groups[g].memory = room;
    }
    bench_runs runs = {0};
    for (size_t run = 0; run <= n_runs; run++) { /* the first warms up */
        const bench_moment begin = bench_now();
        encode_all(compressor, groups, n_groups, n_threads);
        if (run > 0) bench_add_run(&runs, bench_since(begin));
    }
    printf("{\"precision\":\"%s\",\"encoder\":\"%s\",\"segments\":%zu,\"peak_rss_bytes\":%ju,",
           argv[2], argv[3], n_segments, (uintmax_t)bench_peak_rss_bytes());
    bench_print_rates(&runs, "rows", (double)(n_segments * ROWS));
    printf(",");
    bench_print_flops(&runs, flop, precision);
    printf("}\n");
    for (size_t g = 0; g < n_groups; g++) {
        free(groups[g].memory);
        sp_workspace_release(&groups[g].workspace);
        sp_batch_free(&groups[g].batch);
    }
    free(groups);
    sp_compressor_destroy(compressor);
    sp_weights_free(&weights);
    sp_model_source_close(&source);
    return 0;
}
