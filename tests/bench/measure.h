/* What every bench measures: time by the wall and by the processors, what this machine can do at
   most, and memory. Rates by the processors' time are those of a quiet machine, whatever else runs:
   seconds of CPU time count as if all OpenMP threads had run all the time. */
#pragma once

#include "base/status.h"
#include "tensor/linear.h"

#include <stddef.h>
#include <stdint.h>

/* Ends the program with the status, unless that is SP_OK, and its message on stderr. */
void bench_must(sp_status status);

uint32_t bench_random(uint32_t *state); /* the high bits are the better ones */

typedef struct bench_moment {
    double wall_s, cpu_s;
} bench_moment;

bench_moment bench_now(void);
bench_moment bench_since(bench_moment begin);

enum { BENCH_MOST_RUNS = 64 };

/* Runs of the same work. */
typedef struct bench_runs {
    size_t n;
    double wall_s[BENCH_MOST_RUNS], cpu_s[BENCH_MOST_RUNS];
} bench_runs; /* all zero: none */

void bench_add_run(bench_runs *runs, bench_moment took); /* those beyond the most are dropped */
double bench_best(const bench_runs *runs);               /* seconds, by the wall */
double bench_median(const bench_runs *runs);
double bench_least_cpu(const bench_runs *runs);

/* Prints, for `amount` of a unit a run,
       "UNIT_per_second_best":…,"UNIT_per_second_median":…,"UNIT_per_second_cpu":… */
void bench_print_rates(const bench_runs *runs, const char *unit, double amount);

/* Prints "flops_per_second":…,"gemm_flops_per_second":…,"mfu":…,"mfu_cpu":… for `flop` a run: the
   share of what bench_gemm_peak() says, of the best run by the wall, and by the processors' time. */
void bench_print_flops(const bench_runs *runs, double flop, sp_precision precision);

typedef struct bench_rate {
    double by_wall, by_cpu; /* a second */
} bench_rate;

/* FLOP/s of products alone in the type that this machine computes a precision in: f32 by the better of
   the libraries, bf16 and int8 where the CPU has instructions for them, else f32. The best of layers'
   shapes and a square. */
bench_rate bench_gemm_peak(sp_precision precision);

/* Reads "f32", "bf16" or "int8"; false: none of them. */
bool bench_read_precision(sp_precision *precision, const char *name);

uint64_t bench_peak_rss_bytes(void); /* since the start, or since bench_forget_peak() */
uint64_t bench_rss_bytes(void);
void bench_forget_peak(void); /* Linux alone; elsewhere the peak goes on */
