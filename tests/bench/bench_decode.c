/* Times greedy decoding, prompts of 64 random tokens and 32 new ones each, at batch 1, 8 and 32 (or
   the batches that are named). A JSON line for each batch:

       bench_decode MODEL f32|bf16 RUNS [BATCH...]

   best and median new tokens/s of all sequences together, without the time for their prompts; and
   peak resident bytes. */
#include "base/clock.h"
#include "io/model_source.h"
#include "model/language_model.h"
#include "run/decoding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { N_PROMPT = 64, N_NEW = 32, MOST_RUNS = 64 };

static void must(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "bench_decode: %s\n", sp_message());
    exit((int)status);
}

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525U + 1013904223U; }

static void fill_batch(sp_batch *batch, size_t n_seqs, size_t vocab_size, uint32_t *state) {
    sp_batch_clear(batch);
    for (size_t s = 0; s < n_seqs; s++) {
        int32_t seq = 0;
        must(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
        for (size_t i = 0; i < N_PROMPT; i++)
            must(sp_batch_add_row(batch, SP_DECODER,
                                  (int32_t)((next_random(state) >> 8) % vocab_size)));
    }
}

static double seconds_for(sp_transformer *transformer, const sp_batch *batch, size_t n_new) {
    const sp_decoding_limits limits = {.max_new_tokens = n_new, .eos = SP_NO_TOKEN};
    sp_decoded decoded = {0};
    const double begin_s = sp_clock_seconds();
    must(sp_decode_greedily(&decoded, transformer, &batch->rows[SP_DECODER], NULL, &limits));
    const double seconds = sp_clock_seconds() - begin_s;
    sp_decoded_free(&decoded);
    return seconds;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_batch(sp_transformer *transformer, size_t n_seqs, size_t n_runs) {
    sp_batch batch = {0};
    uint32_t state = 1;
    double rates[MOST_RUNS];
    for (size_t run = 0; run < n_runs; run++) {
        fill_batch(&batch, n_seqs, transformer->weights->config.vocab_size, &state);
        const double prompt_s = seconds_for(transformer, &batch, 1);
        const double all_s = seconds_for(transformer, &batch, 1 + N_NEW);
        rates[run] = (double)(n_seqs * N_NEW) / (all_s - prompt_s);
    }
    qsort(rates, n_runs, sizeof *rates, compare);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"batch\": %zu, \"tokens_per_second_best\": %.2f, \"tokens_per_second_median\": %.2f, "
           "\"peak_rss_bytes\": %ld}\n",
           n_seqs, rates[n_runs - 1], rates[n_runs / 2], usage.ru_maxrss * 1024L);
    fflush(stdout);
    sp_batch_free(&batch);
}

int main(int argc, char **argv) {
    const size_t n_runs = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    if (argc < 4 || n_runs == 0 || n_runs > MOST_RUNS) {
        fprintf(stderr, "usage: bench_decode MODEL f32|bf16 RUNS [BATCH...]\n");
        return SP_USAGE;
    }
    const sp_precision precision =
        strcmp(argv[2], "bf16") == 0 ? SP_PRECISION_BF16 : SP_PRECISION_F32;
    sp_model_source source = {0};
    sp_weights weights = {0};
    sp_language_model model = {0};
    must(sp_model_source_open(&source, argv[1]));
    must(sp_weights_load(&weights, &source.tensors, source.config, precision, SP_WEIGHTS_ALL,
                         argv[1]));
    must(sp_language_model_create(&model, &weights));
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
