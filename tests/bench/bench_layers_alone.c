/* Times the frozen linear layers inside running steps of stage 2 (tests/bench/stage2.h; f32, LoRA), and
   OpenBLAS's and oneDNN's products alone on the same shapes and weights. One JSON line for each shape,
   number of rows and direction, and one for all:

       bench_layers_alone MODEL.gguf MICRO_BATCH STEPS

   `ratio`: time of the better library alone over the time inside, by the wall and by the processors'
   time; 1 is the library's own rate. `share`: of the step's time. Layers are timed by standing in for
   their kernels, so nothing of the step is changed. */
#include "base/memory.h"
#include "tensor/gemm.h"
#include "tensor/linear_kernel.h"
#include "tests/bench/measure.h"
#include "tests/bench/stage2.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MICRO_SEGMENT = 256, N_SLOTS = 64, MOST_CASES = 256, N_LIBRARIES = 2 };

/* Calls of one kind. */
typedef struct layer_case {
    size_t n_rows, n_out, n_in;
    bool is_backward, adds; /* adds: to dx, beta 1 */
    size_t n_calls;
    bench_moment inside; /* of all calls */
    const sp_linear
        *layers[BENCH_MOST_RUNS]; /* some of those that were called, for their weights */
    size_t n_layers;
} layer_case;

/* Kernels have no place for a caller's data. */
static struct {
    const sp_linear_kernel *kernel; /* that stands behind */
    layer_case cases[MOST_CASES];
    size_t n_cases;
} timed;

static layer_case *find_case(const layer_case *wanted) {
    layer_case *c = timed.cases;
    const layer_case *end = timed.cases + timed.n_cases;
    while (c < end &&
           (c->n_rows != wanted->n_rows || c->n_out != wanted->n_out || c->n_in != wanted->n_in ||
            c->is_backward != wanted->is_backward || c->adds != wanted->adds))
        c++;
    if (c < end) return c;
    if (timed.n_cases == MOST_CASES) bench_must(sp_fail(SP_FAILURE, "more shapes than expected"));
    timed.n_cases++;
    *c = *wanted;
    return c;
}

static void count_call(const sp_linear *linear, layer_case call, bench_moment took) {
    layer_case *c = find_case(&call);
    c->n_calls++;
    c->inside.wall_s += took.wall_s;
    c->inside.cpu_s += took.cpu_s;
    for (size_t i = 0; i < c->n_layers; i++)
        if (c->layers[i] == linear) return;
    if (c->n_layers < BENCH_MOST_RUNS) c->layers[c->n_layers++] = linear;
}

static void timed_forward(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                          void *scratch) {
    const bench_moment begin = bench_now();
    timed.kernel->multiply(linear, y, x, n_rows, scratch);
    count_call(linear, (layer_case){.n_rows = n_rows, .n_out = linear->n_out, .n_in = linear->n_in},
               bench_since(begin));
}

static void timed_backward(const sp_linear *linear, float *dx, float beta, const float *dy,
                           size_t n_rows, void *scratch) {
    const bench_moment begin = bench_now();
    timed.kernel->backward_input(linear, dx, beta, dy, n_rows, scratch);
    count_call(linear,
               (layer_case){.n_rows = n_rows,
                            .n_out = linear->n_out,
                            .n_in = linear->n_in,
                            .is_backward = true,
                            .adds = beta != 0},
               bench_since(begin));
}

static void stand_in(sp_weights *weights, sp_linear_kernel *kernel) {
    timed.kernel = weights->head->kernel;
    *kernel = *timed.kernel;
    kernel->multiply = timed_forward;
    kernel->backward_input = timed_backward;
    weights->head->kernel = kernel;
    for (size_t l = 0; l < weights->config.n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            if (weights->layers[l].linears[role] != NULL)
                weights->layers[l].linears[role]->kernel = kernel;
}

/* The products that a call of the case is, with the weight of one of its layers. */
static void multiply(const layer_case *c, size_t library, size_t layer, float *y, const float *x) {
    const float *weight = c->layers[layer]->weight_f32;
    const float beta = c->adds ? 1 : 0;
    const size_t width = c->is_backward ? c->n_in : c->n_out;
    const size_t depth = c->is_backward ? c->n_out : c->n_in;
    const sp_gemm size = {.m = c->n_rows, .n = width, .k = depth, .alpha = 1, .beta = beta};
    sp_gemm_kernels[library].gemm(&size, false, !c->is_backward, y, width, x, depth, weight,
                                  c->n_in);
}

/* Least time of a call of a library, over the layers in turn: their weights come from memory as they
   do inside. */
static bench_moment time_alone(const layer_case *c) {
    enum { RUNS = 6 };
    const size_t wider = c->n_in > c->n_out ? c->n_in : c->n_out;
    void *x = NULL, *y = NULL;
    bench_moment best = {(double)INFINITY, (double)INFINITY};
    bench_must(sp_alloc_array(&x, c->n_rows * wider, sizeof(float), "a bench"));
    bench_must(sp_alloc_array(&y, c->n_rows * wider, sizeof(float), "a bench"));
    for (size_t i = 0; i < c->n_rows * wider; i++) ((float *)x)[i] = (float)(i % 251) / 251 - 0.5F;
    for (size_t library = 0; library < N_LIBRARIES; library++)
        for (size_t run = 0; run < RUNS; run++) {
            const bench_moment begin = bench_now();
            multiply(c, library, run % c->n_layers, y, x);
            const bench_moment took = bench_since(begin);
            best.wall_s = fmin(best.wall_s, took.wall_s);
            best.cpu_s = fmin(best.cpu_s, took.cpu_s);
        }
    free(y);
    free(x);
    return best;
}

/* Prints a line for each kind of call, and for all; `step` is the time of all steps. */
static void print_cases(bench_moment step) {
    bench_moment inside = {0}, alone = {0};
    double flop = 0;
    for (size_t i = 0; i < timed.n_cases; i++) {
        const layer_case *c = &timed.cases[i];
        const bench_moment one = time_alone(c);
        const double n = (double)c->n_calls;
        const double product = 2.0 * (double)c->n_rows * (double)c->n_out * (double)c->n_in;
        inside.wall_s += c->inside.wall_s;
        inside.cpu_s += c->inside.cpu_s;
        alone.wall_s += n * one.wall_s;
        alone.cpu_s += n * one.cpu_s;
        flop += n * product;
        printf("{\"rows\":%zu,\"out\":%zu,\"in\":%zu,\"direction\":\"%s\",\"calls\":%zu,"
               "\"flops_per_second\":%.4g,\"alone_flops_per_second\":%.4g,\"ratio\":%.3f,"
               "\"ratio_cpu\":%.3f,\"share\":%.3f}\n",
               c->n_rows, c->n_out, c->n_in, c->is_backward ? "backward" : "forward", c->n_calls,
               n * product / c->inside.wall_s, product / one.wall_s,
               n * one.wall_s / c->inside.wall_s, n * one.cpu_s / c->inside.cpu_s,
               c->inside.wall_s / step.wall_s);
    }
    const bench_rate peak = bench_gemm_peak(SP_PRECISION_F32);
    printf("{\"what\":\"all\",\"flops_per_second\":%.4g,\"alone_flops_per_second\":%.4g,"
           "\"ratio\":%.3f,\"ratio_cpu\":%.3f,\"share\":%.3f,\"mfu\":%.3f,\"mfu_cpu\":%.3f}\n",
           flop / inside.wall_s, flop / alone.wall_s, alone.wall_s / inside.wall_s,
           alone.cpu_s / inside.cpu_s, inside.wall_s / step.wall_s,
           flop / inside.wall_s / peak.by_wall, flop / inside.cpu_s / peak.by_cpu);
}

int main(int argc, char **argv) {
    const size_t n_samples = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t n_steps = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (n_samples == 0 || n_steps == 0) {
        fprintf(stderr, "usage: bench_layers_alone MODEL MICRO_BATCH STEPS\n");
        return SP_USAGE;
    }
    stage2 s;
    sp_linear_kernel kernel;
    bench_moment step = {0};
    stage2_open(&s, &(stage2_options){.model = argv[1],
                                      .training = SP_TRAIN_LORA,
                                      .segment_tokens = MICRO_SEGMENT,
                                      .n_slots = N_SLOTS});
    stage2_step(&s, n_samples); /* warms up */
    stand_in(&s.weights, &kernel);
    for (size_t i = 0; i < n_steps; i++) {
        const bench_moment begin = bench_now();
        stage2_step(&s, n_samples);
        const bench_moment took = bench_since(begin);
        step.wall_s += took.wall_s;
        step.cpu_s += took.cpu_s;
    }
    print_cases(step);
    stage2_close(&s);
    return 0;
}
