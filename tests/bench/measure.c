#include "tests/bench/measure.h"

#include "base/clock.h"
#include "base/memory.h"
#include "tensor/dnnl_matmul.h"
#include "tensor/gemm.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void bench_must(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "bench: %s\n", sp_message());
    exit((int)status);
}

uint32_t bench_random(uint32_t *state) { return *state = *state * 1664525U + 1013904223U; }

/* ---- time ---- */

bench_moment bench_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (bench_moment){sp_clock_seconds(), ((double)now.tv_sec + 1e-9 * (double)now.tv_nsec) /
                                                  omp_get_max_threads()};
}

bench_moment bench_since(bench_moment begin) {
    const bench_moment now = bench_now();
    return (bench_moment){now.wall_s - begin.wall_s, now.cpu_s - begin.cpu_s};
}

void bench_add_run(bench_runs *runs, bench_moment took) {
    if (runs->n == BENCH_MOST_RUNS) return;
    runs->wall_s[runs->n] = took.wall_s;
    runs->cpu_s[runs->n++] = took.cpu_s;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The index-th least of n values. */
static double ranked(const double *values, size_t n, size_t index) {
    double sorted[BENCH_MOST_RUNS];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, compare);
    return sorted[index];
}

double bench_best(const bench_runs *runs) { return ranked(runs->wall_s, runs->n, 0); }

double bench_median(const bench_runs *runs) { return ranked(runs->wall_s, runs->n, runs->n / 2); }

double bench_least_cpu(const bench_runs *runs) { return ranked(runs->cpu_s, runs->n, 0); }

void bench_print_rates(const bench_runs *runs, const char *unit, double amount) {
    printf("\"%s_per_second_best\":%.2f,\"%s_per_second_median\":%.2f,\"%s_per_second_cpu\":%.2f",
           unit, amount / bench_best(runs), unit, amount / bench_median(runs), unit,
           amount / bench_least_cpu(runs));
}

void bench_print_flops(const bench_runs *runs, double flop, sp_precision precision) {
    const bench_rate peak = bench_gemm_peak(precision);
    printf("\"flops_per_second\":%.4g,\"gemm_flops_per_second\":%.4g,\"mfu\":%.3f,\"mfu_cpu\":%.3f",
           flop / bench_best(runs), peak.by_wall, flop / bench_best(runs) / peak.by_wall,
           flop / bench_least_cpu(runs) / peak.by_cpu);
}

/* ---- the machine's most ---- */

/* y [m, n] = x [m, k] w [n, k]^T in one of the ways below. */
typedef struct product {
    size_t m, n, k;
    float *y;
    const float *x, *w;
    sp_dnnl_matmul *matmul; /* of bf16 */
} product;

static void multiply(const product *p, sp_precision precision, size_t kernel) {
    const sp_gemm size = {.m = p->m, .n = p->n, .k = p->k, .alpha = 1};
    switch (precision) {
    case SP_PRECISION_BF16:
        sp_dnnl_matmul_forward(p->matmul, p->y, (const uint16_t *)(const void *)p->x, p->m);
        return;
    case SP_PRECISION_INT8:
        sp_dnnl_gemm_u8s8((int32_t *)(void *)p->y, p->n, (const uint8_t *)p->x,
                          (const int8_t *)p->w, p->m, p->n, p->k);
        return;
    default:
        sp_gemm_kernels[kernel].gemm(&size, false, true, p->y, p->n, p->x, p->k, p->w, p->k);
    }
}

static void time_product(bench_rate *best, const product *p, sp_precision precision,
                         size_t kernel) {
    enum { RUNS = 4 };
    const double flop = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    for (int run = 0; run < RUNS; run++) {
        const bench_moment begin = bench_now();
        multiply(p, precision, kernel);
        const bench_moment took = bench_since(begin);
        if (flop / took.wall_s > best->by_wall) best->by_wall = flop / took.wall_s;
        if (flop / took.cpu_s > best->by_cpu) best->by_cpu = flop / took.cpu_s;
    }
}

static float *make_values(size_t n) {
    void *values = NULL;
    bench_must(sp_alloc_array(&values, n, sizeof(float), "a bench"));
    return values;
}

static sp_precision computed_in(sp_precision precision) {
    if (precision == SP_PRECISION_BF16 && sp_dnnl_computes_bf16()) return precision;
    if (precision == SP_PRECISION_INT8 && sp_dnnl_computes_int8()) return precision;
    return SP_PRECISION_F32;
}

bench_rate bench_gemm_peak(sp_precision precision) {
    static const size_t sizes[][3] = {{2560, 1536, 576}, {2560, 576, 1536}, {2048, 2048, 2048}};
    const sp_precision type = computed_in(precision);
    bench_rate best = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const size_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
        float *x = make_values(m * k), *w = make_values(n * k), *y = make_values(m * n);
        product p = {.m = m, .n = n, .k = k, .y = y, .x = x, .w = w};
        if (type == SP_PRECISION_BF16)
            bench_must(sp_dnnl_matmul_create(&p.matmul, (const uint16_t *)(void *)w, n, k));
        /* The last kernel of f32 is the definition, in plain loops. */
        const size_t n_kernels = type == SP_PRECISION_F32 ? sp_gemm_n_kernels - 1 : 1;
        for (size_t kernel = 0; kernel < n_kernels; kernel++) time_product(&best, &p, type, kernel);
        sp_dnnl_matmul_destroy(p.matmul);
        free(y);
        free(w);
        free(x);
    }
    return best;
}

bool bench_read_precision(sp_precision *precision, const char *name) {
    for (sp_precision p = 0; p < SP_N_PRECISIONS; p++)
        if (strcmp(name, sp_precision_names[p]) == 0) {
            *precision = p;
            return true;
        }
    return false;
}

/* ---- memory ---- */

/* Bytes of a line "NAME:  123 kB" of the process's status; 0: there is none. */
static uint64_t status_bytes(const char *name) {
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %llu", &kib))
            break;
    fclose(file);
    return (uint64_t)kib * 1024;
}

uint64_t bench_peak_rss_bytes(void) { return status_bytes("VmHWM"); }

uint64_t bench_rss_bytes(void) { return status_bytes("VmRSS"); }

void bench_forget_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return;
    fputs("5", file);
    fclose(file);
}
