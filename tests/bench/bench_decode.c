/* Times greedy decoding, prompts of 64 random tokens and 32 new ones each, at batch 1, 8 and 32 (or
   the batches that are named). A JSON line for each batch:

       bench_decode MODEL f32|bf16|int8 RUNS [BATCH...]

   new tokens/s of all sequences together, without the time for their prompts; FLOP/s of their linear
   layers beside this machine's rate of matrix products; and peak resident bytes. */
#include "io/model_source.h"
#include "model/language_model.h"
#include "run/decoding.h"
#include "tests/bench/measure.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_PROMPT = 64, N_NEW = 32 };

static void fill_batch(sp_batch *batch, size_t n_seqs, size_t vocab_size, uint32_t *state) {
    sp_batch_clear(batch);
    for (size_t s = 0; s < n_seqs; s++) {
        int32_t seq = 0;
        bench_must(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
        for (size_t i = 0; i < N_PROMPT; i++)
            bench_must(sp_batch_add_row(batch, SP_DECODER,
                                        (int32_t)((bench_random(state) >> 8) % vocab_size)));
    }
}

static bench_moment time_for(sp_transformer *transformer, const sp_batch *batch, size_t n_new) {
    const sp_decoding_limits limits = {.max_new_tokens = n_new, .eos = SP_NO_TOKEN};
    sp_decoded decoded = {0};
    const bench_moment begin = bench_now();
    bench_must(sp_decode_greedily(&decoded, transformer, &batch->rows[SP_DECODER], NULL, &limits));
    const bench_moment took = bench_since(begin);
    sp_decoded_free(&decoded);
    return took;
}

/* FLOP of the linear layers for a token. */
static double token_flop(const sp_weights *weights) {
    const sp_model_config *config = &weights->config;
    double values = (double)config->vocab_size * (double)config->d_model;
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        values += (double)config->n_layers * (double)sp_matrix_n_out(config, role) *
                  (double)sp_matrix_n_in(config, role);
    return 2 * values;
}

static void time_batch(sp_transformer *transformer, size_t n_seqs, size_t n_runs) {
    const sp_weights *weights = transformer->weights;
    sp_batch batch = {0};
    uint32_t state = 1;
    /* A prompt that was held up would make its run's new tokens look fast: the least is taken off all. */
    bench_runs prompts = {0}, runs = {0};
    for (size_t run = 0; run <= n_runs; run++) { /* the first warms up */
        fill_batch(&batch, n_seqs, weights->config.vocab_size, &state);
        const bench_moment prompt = time_for(transformer, &batch, 1);
        const bench_moment all = time_for(transformer, &batch, 1 + N_NEW);
        if (run == 0) continue;
        bench_add_run(&prompts, prompt);
        bench_add_run(&runs, all);
    }
    for (size_t i = 0; i < runs.n; i++) {
        runs.wall_s[i] -= bench_best(&prompts);
        runs.cpu_s[i] -= bench_least_cpu(&prompts);
    }
    const double n_tokens = (double)(n_seqs * N_NEW);
    printf("{\"batch\":%zu,\"precision\":\"%s\",\"peak_rss_bytes\":%ju,", n_seqs,
           sp_precision_names[weights->precision], (uintmax_t)bench_peak_rss_bytes());
    bench_print_rates(&runs, "tokens", n_tokens);
    printf(",");
    bench_print_flops(&runs, n_tokens * token_flop(weights), weights->precision);
    printf("}\n");
    fflush(stdout);
    sp_batch_free(&batch);
}

int main(int argc, char **argv) {
    const size_t n_runs = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    sp_precision precision = SP_PRECISION_F32;
    if (argc < 4 || n_runs == 0 || !bench_read_precision(&precision, argv[2])) {
        fprintf(stderr, "usage: bench_decode MODEL f32|bf16|int8 RUNS [BATCH...]\n");
        return SP_USAGE;
    }
    sp_model_source source = {0};
    sp_weights weights = {0};
    sp_language_model model = {0};
    bench_must(sp_model_source_open(&source, argv[1]));
    bench_must(sp_weights_load(&weights, &source.tensors, source.config, precision, SP_WEIGHTS_ALL,
                               argv[1]));
    bench_must(sp_language_model_create(&model, &weights));
    static const size_t batches[] = {1, 8, 32};
    if (argc == 4)
        for (size_t i = 0; i < 3; i++) time_batch(model.transformer, batches[i], n_runs);
    for (int i = 4; i < argc; i++)
        time_batch(model.transformer, strtoul(argv[i], NULL, 10), n_runs);
    sp_language_model_destroy(&model);
    sp_weights_free(&weights);
    sp_model_source_close(&source);
    return SP_OK;
}
