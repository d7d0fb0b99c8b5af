/* Times training steps of stage 2 (tests/bench/stage2.h): segments of 256 tokens at 4x, SmolLM2-135M as
   encoder (LoRA r=64, or all weights) and as decoder. One JSON line:

       bench_step MODEL.gguf MICRO_BATCH STEPS lora|full [f32|bf16|int8]

   context tokens/s, peak resident bytes, and the step's FLOP/s beside this machine's rate of matrix
   products. Ends with 77 for bf16 where the CPU has no instructions for it. */
#include "tests/bench/measure.h"
#include "tests/bench/stage2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT = 256, RATIO = 4, EXIT_SKIPPED = 77 };

int main(int argc, char **argv) {
    sp_precision precision = SP_PRECISION_F32;
    const size_t n_samples = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t n_steps = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    if (argc < 5 || n_samples == 0 || n_steps == 0 ||
        (argc > 5 && !bench_read_precision(&precision, argv[5]))) {
        fprintf(stderr, "usage: bench_step MODEL MICRO_BATCH STEPS lora|full [f32|bf16|int8]\n");
        return SP_USAGE;
    }
    if (precision == SP_PRECISION_BF16 && !sp_linear_computes_bf16()) {
        fprintf(stderr, "skipped: needs avx512_bf16\n");
        return EXIT_SKIPPED;
    }
    const bool is_full = strcmp(argv[4], "full") == 0;
    stage2 s;
    bench_runs runs = {0};
    double flop = 0;
    stage2_open(&s, &(stage2_options){.model = argv[1],
                                      .precision = precision,
                                      .training = is_full ? SP_TRAIN_FULL : SP_TRAIN_LORA,
                                      .segment_tokens = SEGMENT,
                                      .n_slots = SEGMENT / RATIO});
    for (size_t step = 0; step <= n_steps; step++) { /* the first warms up */
        const bench_moment begin = bench_now();
        flop = stage2_step(&s, n_samples);
        if (step > 0) bench_add_run(&runs, bench_since(begin));
    }
    const uint64_t peak_bytes = bench_peak_rss_bytes();
    printf("{\"precision\":\"%s\",\"peak_rss_bytes\":%ju,", sp_precision_names[precision],
           (uintmax_t)peak_bytes);
    bench_print_rates(&runs, "tokens", (double)(n_samples * SEGMENT));
    printf(",");
    bench_print_flops(&runs, flop, precision);
    printf("}\n");
    stage2_close(&s);
    return 0;
}
