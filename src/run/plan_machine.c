#include "run/plan_machine.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/memory_limit.h"
#include "tensor/linear.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* A core's rates from FLOP a cycle, the clock in GHz, and the share that products reach. On Zen 4
   these products were measured at 0.95 of the register-only peak in f32 (110 of 116 GFLOP/s), bf16
   (220 of 234) and int8 (420 of 465); 0.9 leaves room for shapes that fit the caches less well.
   AMX is fed from memory less easily: 0.6 is what oneDNN's own figures come to on such shapes. */
#define RATE(flop_per_cycle, ghz, share) ((flop_per_cycle) * (ghz)*1e9 * (share))
#define GB (1e9)
#define GIB ((uint64_t)1 << 30)

/* Cores, clocks and memory channels are the makers' (product pages of AMD and Intel); the clock is
   the all-core boost, or for AVX-512 and AMX on Intel the base clock, which long vector code comes
   down to. FLOP a cycle: 2 FMA units of 8 (AVX2, and AVX-512 on Zen 4 in two halves) or 16 lanes;
   vdpbf16ps is twice f32, AMX bf16 16 x 16 x 32 products in 16 cycles. Bandwidth: 0.8 of the
   channels' sum, near published STREAM results. */
/* clang-format off */
static const sp_cpu cpus[] = {
    {"zen2", "2 x EPYC 7742, 64 cores, DDR4-3200",
     128, RATE(32, 2.6, 0.9), 0, RATE(64, 2.6, 0.9), 0.8 * 410 * GB, 512 * GIB},
    {"zen3", "2 x EPYC 7763, 64 cores, DDR4-3200",
     128, RATE(32, 2.9, 0.9), 0, RATE(64, 2.9, 0.9), 0.8 * 410 * GB, 512 * GIB},
    {"zen4", "2 x EPYC 9654, 96 cores, DDR5-4800",
     192, RATE(32, 3.1, 0.9), RATE(64, 3.1, 0.9), RATE(128, 3.1, 0.9), 0.8 * 922 * GB, 768 * GIB},
    {"zen5", "2 x EPYC 9755, 128 cores, DDR5-6000",
     256, RATE(64, 2.9, 0.9), RATE(128, 2.9, 0.9), RATE(256, 2.9, 0.9), 0.8 * 1152 * GB, 1152 * GIB},
    {"clx", "2 x Xeon 8280, 28 cores, DDR4-2933",
     56, RATE(64, 2.1, 0.85), 0, RATE(256, 2.1, 0.7), 0.8 * 282 * GB, 192 * GIB},
    {"icx", "2 x Xeon 8380, 40 cores, DDR4-3200",
     80, RATE(64, 2.0, 0.85), 0, RATE(256, 2.0, 0.7), 0.8 * 410 * GB, 512 * GIB},
    {"spr", "2 x Xeon 8480+, 56 cores, DDR5-4800, AMX",
     112, RATE(64, 2.0, 0.85), RATE(1024, 1.9, 0.6), RATE(2048, 1.9, 0.6), 0.8 * 614 * GB, 512 * GIB},
    {"emr", "2 x Xeon 8592+, 64 cores, DDR5-5600, AMX",
     128, RATE(64, 2.1, 0.85), RATE(1024, 1.9, 0.6), RATE(2048, 1.9, 0.6), 0.8 * 717 * GB, 1024 * GIB},
    {"gnr", "2 x Xeon 6980P, 128 cores, DDR5-6400, AMX",
     256, RATE(64, 2.0, 0.85), RATE(1024, 2.0, 0.6), RATE(2048, 2.0, 0.6), 0.8 * 1229 * GB, 1536 * GIB},
};

/* Bandwidth: what MPI's point-to-point benchmarks reach on a link, some 0.95 of its bits. */
static const sp_network networks[] = {
    {"10gbe", "10 Gb/s Ethernet, TCP", 25e-6, 1.1 * GB},
    {"25gbe", "25 Gb/s Ethernet, TCP", 20e-6, 2.8 * GB},
    {"100gbe", "100 Gb/s Ethernet, RoCE", 3e-6, 11.5 * GB},
    {"edr", "InfiniBand EDR or Omni-Path, 100 Gb/s", 1.3e-6, 12 * GB},
    {"hdr", "InfiniBand HDR, 200 Gb/s", 1.3e-6, 24 * GB},
    {"slingshot", "Slingshot 11, 200 Gb/s", 2e-6, 23 * GB},
    {"ndr", "InfiniBand NDR, 400 Gb/s", 1.3e-6, 47 * GB},
};
/* clang-format on */
enum { N_CPUS = sizeof cpus / sizeof cpus[0], N_NETWORKS = sizeof networks / sizeof networks[0] };

/* Best rate of several products with a frozen weight of that precision, whose shape is a layer's of a
   small model: 512 rows. x and y have room for 512 x 1536 values, scratch for what a layer wants. */
enum { ROWS = 512, N_OUT = 1536, N_IN = 576, RUNS = 12 };

static sp_status measure_products(double *rate, sp_precision precision, float *x, float *y,
                                  const float *weight, void *scratch) {
    const sp_tensor tensor = {.dtype = SP_F32, .n_dims = 2, .shape = {N_OUT, N_IN}, .data = weight};
    sp_linear *linear = NULL;
    SP_TRY(sp_linear_create(&linear, &tensor, NULL, precision));
    *rate = 0;
    for (int run = 0; run < RUNS; run++) {
        const double begin_s = sp_clock_seconds();
        sp_linear_forward(linear, y, x, ROWS, scratch);
        const double once = 2.0 * ROWS * N_OUT * N_IN / (sp_clock_seconds() - begin_s);
        if (once > *rate) *rate = once;
    }
    sp_linear_destroy(linear);
    return SP_OK;
}

/* Bytes read and written a second by a sum of arrays beyond the caches. */
static double measure_bandwidth(float *a, const float *b, size_t n) {
    double best = 0;
    for (int run = 0; run < 4; run++) {
        const double begin_s = sp_clock_seconds();
#pragma omp parallel for simd schedule(static)
        for (size_t i = 0; i < n; i++) a[i] += b[i];
        const double rate = 3.0 * (double)(n * sizeof *a) / (sp_clock_seconds() - begin_s);
        if (rate > best) best = rate;
    }
    return best;
}

enum { N_MEASURED = 16 << 20 }; /* values: 64 MiB an array */

static sp_status measure_in(sp_cpu *cpu, float *a, float *b) {
    enum { MIB_VALUES = 1 << 18 };
    float *const x = a, *const y = a + 8 * MIB_VALUES, *const weight = b;
    void *const scratch = b + 8 * MIB_VALUES;
    const double cores = (double)omp_get_max_threads();
    SP_TRY(measure_products(&cpu->f32, SP_PRECISION_F32, x, y, weight, scratch));
    cpu->f32 /= cores;
    if (sp_linear_computes_bf16()) {
        SP_TRY(measure_products(&cpu->bf16, SP_PRECISION_BF16, x, y, weight, scratch));
        cpu->bf16 /= cores;
    }
    cpu->memory_bandwidth = measure_bandwidth(a, b, N_MEASURED);
    return SP_OK;
}

static sp_status measure(sp_cpu *cpu) {
    void *a = NULL, *b = NULL;
    sp_status status = sp_alloc_array(&a, N_MEASURED, sizeof(float), "a measurement");
    if (status == SP_OK) status = sp_alloc_array(&b, N_MEASURED, sizeof(float), "a measurement");
    if (status == SP_OK) status = measure_in(cpu, a, b);
    free(b);
    free(a);
    return status;
}

static sp_status measure_native(sp_cpu *cpu) {
    sp_memory_limit limit;
    SP_TRY(sp_memory_limit_read(&limit, ""));
    sp_cpu native = {.name = "native",
                     .what = "this machine, measured",
                     .cores = (size_t)omp_get_num_procs(),
                     .memory_bytes = limit.n_bytes};
    SP_TRY(measure(&native));
    *cpu = native;
    return SP_OK;
}

sp_status sp_cpu_find(sp_cpu *cpu, const char *name) {
    char list[256] = "native";
    size_t used = strlen(list);
    if (strcmp(name, "native") == 0) return measure_native(cpu);
    for (size_t i = 0; i < N_CPUS; i++) {
        if (strcmp(name, cpus[i].name) == 0) {
            *cpu = cpus[i];
            return SP_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, ", %s", cpus[i].name);
    }
    return sp_fail(SP_USAGE, "--cpu: '%s' is not one of %s", name, list);
}

/* "LATENCY_US/GB_PER_S" */
static bool parse_network(sp_network *network, const char *text) {
    char *end = NULL;
    const double latency = strtod(text, &end);
    if (end == text || *end != '/' || !(latency >= 0)) return false;
    const char *rest = end + 1;
    const double bandwidth = strtod(rest, &end);
    if (end == rest || *end != '\0' || !(bandwidth > 0 && bandwidth < 1e6)) return false;
    *network = (sp_network){.name = "given",
                            .what = "latency and bandwidth as given",
                            .latency = latency * 1e-6,
                            .bandwidth = bandwidth * GB};
    return true;
}

sp_status sp_network_find(sp_network *network, const char *name) {
    char list[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < N_NETWORKS; i++) {
        if (strcmp(name, networks[i].name) == 0) {
            *network = networks[i];
            return SP_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "",
                                 networks[i].name);
    }
    if (parse_network(network, name)) return SP_OK;
    return sp_fail(SP_USAGE,
                   "--network: '%s' is neither one of %s nor LATENCY_US/GB_PER_S, such as 1.5/24",
                   name, list);
}

void sp_machine_print_tables(FILE *out) {
    fprintf(out, "CPUs (--cpu): cores a node, GFLOP/s a core in f32 and bf16, GB/s, GiB\n");
    for (size_t i = 0; i < N_CPUS; i++) {
        const sp_cpu *c = &cpus[i];
        fprintf(out, "  %-10s %4zu %6.0f %6.0f %6.0f %6.0f  %s\n", c->name, c->cores, c->f32 * 1e-9,
                c->bf16 * 1e-9, c->memory_bandwidth * 1e-9, (double)c->memory_bytes / (double)GIB,
                c->what);
    }
    fprintf(out, "  %-10s this machine, measured\n\n", "native");
    fprintf(out, "Networks (--network): microseconds, GB/s a node\n");
    for (size_t i = 0; i < N_NETWORKS; i++)
        fprintf(out, "  %-10s %6.1f %6.1f  %s\n", networks[i].name, networks[i].latency * 1e6,
                networks[i].bandwidth * 1e-9, networks[i].what);
}

double sp_machine_cores_per_rank(const sp_machine *machine) {
    return (double)machine->cpu.cores / (double)machine->ranks_per_node;
}
