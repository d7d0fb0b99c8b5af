/* Times greedy decoding, prompts of 64 random tokens and 32 new ones each, at batch 1, 8 and 32 (or
   the batches that are named). A JSON line for each batch:

       bench_decode MODEL f32|bf16|int8 RUNS [BATCH...]

   new tokens/s of all sequences together, once their prompts are read; FLOP/s of their linear
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

static sp_decoding *start(sp_transformer *transformer, const sp_batch *batch, size_t n_seqs,
                          size_t n_new) {
    const sp_decoding_limits limits = {.max_new_tokens = n_new, .eos = SP_NO_TOKEN};
    sp_decoding *decoding = NULL;
    bench_must(sp_decoding_create(&decoding, transformer, n_seqs));
    bench_must(sp_decoding_add(decoding, &batch->rows[SP_DECODER], NULL, &limits));
    return decoding;
}

/* Passes until each prompt has been read and its first token made. */
static size_t passes_of_prompts(sp_transformer *transformer, const sp_batch *batch, size_t n_seqs) {
    sp_decoding *decoding = start(transformer, batch, n_seqs, 1);
    size_t n = 0;
    for (; sp_decoding_n_going(decoding) > 0; n++) bench_must(sp_decoding_step(decoding));
    sp_decoding_destroy(decoding);
    return n;
}

/* Times N_NEW passes after so many, all of them with a token for every sequence: the first prompts that
   were read go on until the last have theirs. */
static bench_moment time_new_tokens(sp_transformer *transformer, const sp_batch *batch,
                                    size_t n_seqs, size_t n_before) {
    sp_decoding *decoding = start(transformer, batch, n_seqs, n_before + N_NEW);
    for (size_t i = 0; i < n_before; i++) bench_must(sp_decoding_step(decoding));
    const bench_moment begin = bench_now();
    for (size_t i = 0; i < N_NEW; i++) bench_must(sp_decoding_step(decoding));
    const bench_moment took = bench_since(begin);
    sp_decoding_destroy(decoding);
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
    bench_runs runs = {0};
    for (size_t run = 0; run < n_runs; run++) {
        fill_batch(&batch, n_seqs, weights->config.vocab_size, &state);
        const size_t n_before = passes_of_prompts(transformer, &batch, n_seqs);
        bench_add_run(&runs, time_new_tokens(transformer, &batch, n_seqs, n_before));
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
