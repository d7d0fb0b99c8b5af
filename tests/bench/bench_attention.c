/* Times attention alone, on the shapes of SmolLM2-135M and of Llama-3-8B, by the length of a segment:

       bench_attention RUNS [LENGTH]

   forward and backward over two sequences of a batch, GFLOP/s of visible pairs (what a FLOP model
   counts, so growth shows as a falling rate), beside this machine's f32 GEMM rate; and a row of
   decoding for each of eight sequences over a KV cache of that length in pages, f32 and bf16, GB/s of
   keys and values. Best of RUNS; one JSON line each. */
#include "base/clock.h"
#include "base/memory.h"
#include "tensor/attention.h"
#include "tensor/gemm.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_SEQS = 2, N_DECODED = 8, PAGE = 128, MOST_LEN = 2048 };

typedef struct named_shape {
    const char *name;
    sp_attention_shape shape;
} named_shape;

static const named_shape shapes[] = {
    {"smollm2", {.n_heads = 9, .n_kv_heads = 3, .head_dim = 64, .scale = 0.125F}},
    {"llama3", {.n_heads = 32, .n_kv_heads = 8, .head_dim = 128, .scale = 0.088F}},
};

static void *allocate(size_t n_bytes) {
    void *block = NULL;
    if (sp_alloc(&block, n_bytes, "a bench") == SP_OK) return block;
    fprintf(stderr, "bench_attention: %s\n", sp_message());
    exit(SP_FAILURE);
}

static float *random_values(size_t n, uint32_t seed) {
    float *values = allocate(n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525U + 1013904223U;
        values[i] = (float)(seed >> 8) / (float)(1U << 23) - 1.0F;
    }
    return values;
}

static double gemm_rate(size_t n_runs) {
    enum { M = 512, N = 512, K = 576 };
    float *x = random_values((size_t)M * K, 1), *w = random_values((size_t)N * K, 2);
    float *y = random_values((size_t)M * N, 3);
    double best = INFINITY;
    for (size_t run = 0; run < 4 * n_runs; run++) {
        const double begin_s = sp_clock_seconds();
        sp_gemm_nt((sp_gemm){.m = M, .n = N, .k = K, .alpha = 1}, y, N, x, K, w, K);
        best = fmin(best, sp_clock_seconds() - begin_s);
    }
    free(x), free(w), free(y);
    return 2.0 * M * N * K / best;
}

static void time_training(const named_shape *named, size_t len, size_t n_runs) {
    const sp_attention_shape *shape = &named->shape;
    const size_t q_width = shape->n_heads * shape->head_dim, n = N_SEQS * len;
    const size_t kv_width = shape->n_kv_heads * shape->head_dim;
    const sp_attention_seq seqs[N_SEQS] = {{0, len, -1}, {len, len, -1}};
    float *q = random_values(n * q_width, 1), *k = random_values(n * kv_width, 2);
    float *v = random_values(n * kv_width, 3), *o = random_values(n * q_width, 4);
    float *dq = random_values(n * q_width, 5), *dk = random_values(n * kv_width, 6);
    float *dv = random_values(n * kv_width, 7), *lse = random_values(n * shape->n_heads, 8);
    void *scratch = allocate(sp_attention_scratch_bytes(shape));
    const sp_attention_inputs in = {q, k, v, q_width, kv_width};
    const sp_attention_gradients out = {dq, dk, dv, q_width, kv_width};
    double forward_s = INFINITY, backward_s = INFINITY;
    for (size_t run = 0; run < n_runs; run++) {
        const double begin_s = sp_clock_seconds();
        sp_attention_forward(shape, seqs, N_SEQS, o, lse, &in, scratch);
        const double middle_s = sp_clock_seconds();
        sp_attention_backward(shape, seqs, N_SEQS, &out, o, o, lse, &in, scratch);
        forward_s = fmin(forward_s, middle_s - begin_s);
        backward_s = fmin(backward_s, sp_clock_seconds() - middle_s);
    }
    const double pairs = N_SEQS * (double)len * ((double)len + 1) / 2 * (double)q_width;
    printf("{\"shape\": \"%s\", \"length\": %zu, \"forward_flops\": %.4g, \"backward_flops\": "
           "%.4g, \"scratch_bytes\": %zu}\n",
           named->name, len, 4 * pairs / forward_s, 10 * pairs / backward_s,
           sp_attention_scratch_bytes(shape));
    free(q), free(k), free(v), free(o), free(dq), free(dk), free(dv), free(lse), free(scratch);
}

static void time_decoding(const named_shape *named, size_t len, bool is_bf16, size_t n_runs) {
    const sp_attention_shape *shape = &named->shape;
    const size_t q_width = shape->n_heads * shape->head_dim;
    const size_t kv_width = shape->n_kv_heads * shape->head_dim;
    const size_t value_bytes = is_bf16 ? sizeof(uint16_t) : sizeof(float);
    const size_t n_values = N_DECODED * len * kv_width, n_pages = (len + PAGE - 1) / PAGE;
    char *k = allocate(n_values * value_bytes), *v = allocate(n_values * value_bytes);
    float *q = random_values(N_DECODED * q_width, 1), *o = random_values(N_DECODED * q_width, 2);
    sp_attention_span *spans = allocate(N_DECODED * n_pages * sizeof *spans);
    void *scratch = allocate(sp_attention_scratch_bytes(shape));
    sp_attention_cached_seq seqs[N_DECODED];
    for (size_t s = 0; s < N_DECODED; s++) {
        seqs[s] = (sp_attention_cached_seq){s, 1, len, spans + s * n_pages, n_pages};
        for (size_t p = 0; p < n_pages; p++) {
            const size_t at = (s * len + p * PAGE) * kv_width * value_bytes;
            const size_t left = len - p * PAGE;
            spans[s * n_pages + p] =
                (sp_attention_span){k + at, v + at, left < PAGE ? left : PAGE, kv_width, is_bf16};
        }
    }
    double best = INFINITY;
    for (size_t run = 0; run < 4 * n_runs; run++) {
        const double begin_s = sp_clock_seconds();
        sp_attention_cached(shape, seqs, N_DECODED, o, q, q_width, scratch);
        best = fmin(best, sp_clock_seconds() - begin_s);
    }
    printf("{\"shape\": \"%s\", \"length\": %zu, \"cache\": \"%s\", \"bytes_per_second\": %.4g, "
           "\"rows_per_second\": %.4g}\n",
           named->name, len, is_bf16 ? "bf16" : "f32",
           2.0 * (double)(n_values * value_bytes) / best, N_DECODED / best);
    free(k), free(v), free(q), free(o), free(spans), free(scratch);
}

int main(int argc, char **argv) {
    const size_t n_runs = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    const size_t only = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (n_runs == 0) {
        fprintf(stderr, "usage: bench_attention RUNS [LENGTH]\n");
        return SP_USAGE;
    }
    printf("{\"gemm_flops\": %.4g}\n", gemm_rate(n_runs));
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t len = 128; len <= MOST_LEN; len *= 2) {
            if (only > 0 && len != only) continue;
            time_training(&shapes[i], len, n_runs);
            time_decoding(&shapes[i], len, false, n_runs);
            time_decoding(&shapes[i], len, true, n_runs);
        }
    return SP_OK;
}
