/* Times frozen linear layers beside the libraries alone: shapes of SmolLM2-135M and Llama-3-8B, every
   precision, forward and back to the input. One JSON line for each shape and number of rows:

       bench_linear [ROWS...]

   GFLOP/s, GB/s of weights read (forward), and the ratio to the better of oneDNN's and OpenBLAS's
   sgemm on the same shape. int8 beside oneDNN's own u8 x s8 product, too, which does not quantise.
   Weights are cycled through 64 MiB, so that they come from memory as a model's do. Rates are by the
   process's CPU time over its threads: what a quiet machine would show. */
#include "base/clock.h"
#include "base/memory.h"
#include "tensor/dnnl_matmul.h"
#include "tensor/gemm.h"
#include "tensor/linear.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    size_t n_out, n_in;
} shapes[] = {
    {"SmolLM2-135M q, o", 576, 576},      {"SmolLM2-135M k, v", 192, 576},
    {"SmolLM2-135M gate, up", 1536, 576}, {"SmolLM2-135M down", 576, 1536},
    {"SmolLM2-135M head", 49152, 576},    {"Llama-3-8B q, o", 4096, 4096},
    {"Llama-3-8B k, v", 1024, 4096},      {"Llama-3-8B gate, up (4096 of 14336)", 4096, 4096},
    {"Llama-3-8B down", 4096, 14336},
};

enum { N_SHAPES = sizeof shapes / sizeof shapes[0], CYCLED_BYTES = 64 << 20, MOST_COPIES = 64 };

static void must(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "bench_linear: %s\n", sp_message());
    exit((int)status);
}

static void *room(size_t n_bytes) {
    void *block = NULL;
    must(sp_alloc(&block, n_bytes, "a bench"));
    return block;
}

/* Seconds as if all threads ran all the time. */
static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return ((double)now.tv_sec + 1e-9 * (double)now.tv_nsec) / omp_get_max_threads();
}

typedef struct subject {
    size_t n_rows, n_out, n_in, n_copies;
    sp_linear *linears[SP_N_PRECISIONS][MOST_COPIES];
    const float *weight; /* [n_copies, n_out, n_in] */
    float *x, *y, *dx;
    void *scratch;
    uint8_t *x_u8;
} subject;

typedef void product(subject *s, size_t copy, int variant);

static void layer_forward(subject *s, size_t copy, int precision) {
    sp_linear_forward(s->linears[precision][copy], s->y, s->x, s->n_rows, s->scratch);
}

static void layer_backward(subject *s, size_t copy, int precision) {
    sp_linear_backward_input(s->linears[precision][copy], s->dx, 0, s->y, s->n_rows, s->scratch);
}

static void library_forward(subject *s, size_t copy, int kernel) {
    const sp_gemm size = {.m = s->n_rows, .n = s->n_out, .k = s->n_in, .alpha = 1};
    sp_gemm_kernels[kernel].gemm(&size, false, true, s->y, s->n_out, s->x, s->n_in,
                                 s->weight + copy * s->n_out * s->n_in, s->n_in);
}

static void library_backward(subject *s, size_t copy, int kernel) {
    const sp_gemm size = {.m = s->n_rows, .n = s->n_in, .k = s->n_out, .alpha = 1};
    sp_gemm_kernels[kernel].gemm(&size, false, false, s->dx, s->n_in, s->y, s->n_out,
                                 s->weight + copy * s->n_out * s->n_in, s->n_in);
}

static void library_int8(subject *s, size_t copy, int unused) {
    (void)unused;
    const int8_t *weight = (const int8_t *)s->weight + copy * s->n_out * s->n_in;
    sp_dnnl_gemm_u8s8((int32_t *)(void *)s->y, s->n_out, s->x_u8, weight, s->n_rows, s->n_out,
                      s->n_in);
}

/* Best of runs within 0.2 s, three at least; the first warms up. */
static double seconds_of(subject *s, product *run, int variant) {
    double best = 1e30;
    const double begin_s = sp_clock_seconds();
    for (size_t i = 0; i < 4 || (sp_clock_seconds() - begin_s < 0.2 && i < 400); i++) {
        const double run_s = cpu_seconds();
        run(s, i % s->n_copies, variant);
        const double seconds = cpu_seconds() - run_s;
        if (i > 0 && seconds < best) best = seconds;
    }
    return best;
}

static double smaller(double a, double b) { return a < b ? a : b; }

static void bench(subject *s, const char *name) {
    static const size_t value_bytes[] = {sizeof(float), sizeof(uint16_t), 1};
    const double flop = 2.0 * (double)s->n_rows * (double)s->n_out * (double)s->n_in;
    const double weights = (double)s->n_out * (double)s->n_in;
    const double dnnl = seconds_of(s, library_forward, 0), blas = seconds_of(s, library_forward, 1);
    const double dnnl_back = seconds_of(s, library_backward, 0);
    const double blas_back = seconds_of(s, library_backward, 1);
    printf("{\"layer\":\"%s\",\"rows\":%zu,\"out\":%zu,\"in\":%zu,\"threads\":%d,"
           "\"onednn_f32\":%.1f,\"openblas_f32\":%.1f,\"onednn_u8s8\":%.1f",
           name, s->n_rows, s->n_out, s->n_in, omp_get_max_threads(), flop / dnnl / 1e9,
           flop / blas / 1e9, flop / seconds_of(s, library_int8, 0) / 1e9);
    for (sp_precision p = 0; p < SP_N_PRECISIONS; p++) {
        const double forward = seconds_of(s, layer_forward, (int)p);
        const double backward = seconds_of(s, layer_backward, (int)p);
        printf(",\"%s\":{\"forward\":%.1f,\"gb_per_second\":%.1f,\"forward_ratio\":%.2f,"
               "\"backward\":%.1f,\"backward_ratio\":%.2f}",
               sp_precision_names[p], flop / forward / 1e9,
               weights * (double)value_bytes[p] / forward / 1e9, smaller(dnnl, blas) / forward,
               flop / backward / 1e9, smaller(dnnl_back, blas_back) / backward);
    }
    printf("}\n");
    fflush(stdout);
}

static void fill(float *values, size_t n) {
    for (size_t i = 0; i < n; i++) values[i] = (float)(i % 251) / 251 - 0.5F;
}

static void bench_shape(size_t shape, const size_t *rows, size_t n_numbers) {
    subject s = {.n_out = shapes[shape].n_out, .n_in = shapes[shape].n_in};
    const size_t n_values = s.n_out * s.n_in, fitting = CYCLED_BYTES / sizeof(float) / n_values;
    size_t most_rows = 1, n_scratch = 0;
    s.n_copies = fitting < 1 ? 1 : fitting > MOST_COPIES ? MOST_COPIES : fitting;
    float *weight = room(s.n_copies * n_values * sizeof(float));
    fill(weight, s.n_copies * n_values);
    s.weight = weight;
    for (size_t i = 0; i < n_numbers; i++)
        if (rows[i] > most_rows) most_rows = rows[i];
    for (sp_precision p = 0; p < SP_N_PRECISIONS; p++)
        for (size_t c = 0; c < s.n_copies; c++) {
            const sp_tensor tensor = {.dtype = SP_F32,
                                      .n_dims = 2,
                                      .shape = {s.n_out, s.n_in},
                                      .data = weight + c * n_values};
            must(sp_linear_create(&s.linears[p][c], &tensor, NULL, p));
            const size_t n_bytes = sp_linear_scratch_bytes(s.linears[p][c], most_rows);
            if (n_bytes > n_scratch) n_scratch = n_bytes;
        }
    s.x = room(most_rows * s.n_in * sizeof(float));
    s.y = room(most_rows * s.n_out * sizeof(float));
    s.dx = room(most_rows * s.n_in * sizeof(float));
    s.x_u8 = room(most_rows * s.n_in);
    s.scratch = room(n_scratch);
    for (size_t i = 0; i < n_numbers; i++) {
        s.n_rows = rows[i];
        fill(s.x, most_rows * s.n_in);
        bench(&s, shapes[shape].name);
    }
    for (sp_precision p = 0; p < SP_N_PRECISIONS; p++)
        for (size_t c = 0; c < s.n_copies; c++) sp_linear_destroy(s.linears[p][c]);
    free(s.scratch);
    free(s.x_u8);
    free(s.dx);
    free(s.y);
    free(s.x);
    free(weight);
}

/* Bytes read a second of an array beyond the caches. */
static double streaming_read(void) {
    const size_t n = (size_t)CYCLED_BYTES / sizeof(float);
    float *values = room(CYCLED_BYTES);
    double best = 0;
    fill(values, n);
    for (int run = 0; run < 6; run++) {
        float sum = 0;
        const double begin_s = cpu_seconds();
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
        for (size_t i = 0; i < n; i++) sum += values[i];
        const double rate = CYCLED_BYTES / (cpu_seconds() - begin_s);
        if (rate > best && sum < 1e30F) best = rate;
    }
    free(values);
    return best;
}

int main(int argc, char **argv) {
    size_t rows[16] = {1, 8, 32, 512}, n_numbers = 4;
    if (argc > 17) return SP_USAGE;
    if (argc > 1) n_numbers = (size_t)argc - 1;
    for (int i = 1; i < argc; i++) rows[i - 1] = (size_t)atol(argv[i]);
    for (size_t i = 0; i < n_numbers; i++)
        if (rows[i] == 0) {
            fprintf(stderr, "usage: bench_linear [ROWS...]\n");
            return SP_USAGE;
        }
    printf("{\"streaming_read_gb_per_second\":%.1f}\n", streaming_read() / 1e9);
    for (size_t i = 0; i < N_SHAPES; i++) bench_shape(i, rows, n_numbers);
    return 0;
}
