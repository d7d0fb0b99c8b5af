/* Times training steps of stage 2 (tests/bench/stage2.h) as they grow along one axis, beside the
   chain's own FLOP of them. One JSON line a size:

       bench_growth MODEL.gguf segment|slots|batch LAYERS STEPS

   seconds, CPU seconds and FLOP of a step; `per_flop` and `per_flop_cpu`: seconds per FLOP over those
   of the axis' first size, 1 if time grows as the FLOP do. LAYERS: of each side, the first ones, so
   that the long steps end soon; 0: all. By LoRA, f32.

       segment   128 to 2,048 tokens at 4x, one segment a step
       slots     1 to 512 for a segment of 512 tokens
       batch     1 to 64 segments of 64 tokens at 4x */
#include "tests/bench/measure.h"
#include "tests/bench/stage2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct step_size {
    size_t segment_tokens, n_slots, n_samples;
} step_size;

enum { MOST_SIZES = 8 };

static const struct {
    const char *name;
    size_t n_sizes;
    step_size sizes[MOST_SIZES];
} axes[] = {
    {"segment", 5, {{128, 32, 1}, {256, 64, 1}, {512, 128, 1}, {1024, 256, 1}, {2048, 512, 1}}},
    {"slots", 4, {{512, 1, 1}, {512, 8, 1}, {512, 64, 1}, {512, 512, 1}}},
    {"batch", 4, {{64, 16, 1}, {64, 16, 4}, {64, 16, 16}, {64, 16, 64}}},
};
enum { N_AXES = sizeof axes / sizeof axes[0] };

/* Returns the FLOP of a step. */
static double time_size(bench_runs *runs, const char *model, const step_size *size, size_t n_layers,
                        size_t n_steps) {
    stage2 s;
    double flop = 0;
    stage2_open(&s, &(stage2_options){.model = model,
                                      .training = SP_TRAIN_LORA,
                                      .segment_tokens = size->segment_tokens,
                                      .n_slots = size->n_slots,
                                      .n_layers = n_layers});
    for (size_t step = 0; step <= n_steps; step++) { /* the first warms up */
        const bench_moment begin = bench_now();
        flop = stage2_step(&s, size->n_samples);
        if (step > 0) bench_add_run(runs, bench_since(begin));
    }
    stage2_close(&s);
    return flop;
}

int main(int argc, char **argv) {
    size_t axis = 0;
    const size_t n_steps = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    while (argc == 5 && axis < N_AXES && strcmp(axes[axis].name, argv[2]) != 0) axis++;
    if (n_steps == 0 || axis == N_AXES) {
        fprintf(stderr, "usage: bench_growth MODEL segment|slots|batch LAYERS STEPS\n");
        return SP_USAGE;
    }
    double first_wall = 0, first_cpu = 0;
    for (size_t i = 0; i < axes[axis].n_sizes; i++) {
        const step_size *size = &axes[axis].sizes[i];
        bench_runs runs = {0};
        const double flop = time_size(&runs, argv[1], size, strtoul(argv[3], NULL, 10), n_steps);
        const double wall = bench_best(&runs) / flop, cpu = bench_least_cpu(&runs) / flop;
        if (i == 0) first_wall = wall;
        if (i == 0) first_cpu = cpu;
        printf("{\"axis\":\"%s\",\"segment\":%zu,\"slots\":%zu,\"batch\":%zu,\"seconds\":%.4g,"
               "\"cpu_seconds\":%.4g,\"flop\":%.4g,\"per_flop\":%.3f,\"per_flop_cpu\":%.3f}\n",
               argv[2], size->segment_tokens, size->n_slots, size->n_samples, bench_best(&runs),
               bench_least_cpu(&runs), flop, wall / first_wall, cpu / first_cpu);
        fflush(stdout);
    }
    return 0;
}
