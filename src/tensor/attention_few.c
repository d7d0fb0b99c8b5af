#include "tensor/attention_few.h"

#include "tensor/cpu.h"

/* Rows of k or v at once: so many sums fit the registers, and each value of q or acc is loaded once
   for all of them. */
enum { AT_ONCE = 4 };

SP_CLONES static void dot_rows(float *restrict out, const float *restrict q, size_t head_dim,
                               const float *restrict k, size_t ld) {
    const float *k1 = k + ld, *k2 = k1 + ld, *k3 = k2 + ld;
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (size_t i = 0; i < head_dim; i++) {
        sum0 += q[i] * k[i];
        sum1 += q[i] * k1[i];
        sum2 += q[i] * k2[i];
        sum3 += q[i] * k3[i];
    }
    out[0] = sum0, out[1] = sum1, out[2] = sum2, out[3] = sum3;
}

SP_CLONES static float dot_row(const float *restrict q, size_t head_dim, const float *restrict k) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < head_dim; i++) sum += q[i] * k[i];
    return sum;
}

/* Queries run inside, so that rows stay in the first-level cache. */
void sp_attention_few_scores(float *restrict scores, size_t ld_scores, const float *restrict q,
                             size_t n_queries, size_t head_dim, const float *restrict k, size_t ld,
                             size_t n) {
    size_t j = 0;
    for (; j + AT_ONCE <= n; j += AT_ONCE)
        for (size_t i = 0; i < n_queries; i++)
            dot_rows(scores + i * ld_scores + j, q + i * head_dim, head_dim, k + j * ld, ld);
    for (; j < n; j++)
        for (size_t i = 0; i < n_queries; i++)
            scores[i * ld_scores + j] = dot_row(q + i * head_dim, head_dim, k + j * ld);
}

SP_CLONES static void add_rows(float *restrict acc, const float *restrict p, size_t head_dim,
                               const float *restrict v, size_t ld) {
    const float *v1 = v + ld, *v2 = v1 + ld, *v3 = v2 + ld;
    const float p0 = p[0], p1 = p[1], p2 = p[2], p3 = p[3];
#pragma omp simd
    for (size_t i = 0; i < head_dim; i++)
        acc[i] += (p0 * v[i] + p1 * v1[i]) + (p2 * v2[i] + p3 * v3[i]);
}

SP_CLONES static void add_row(float *restrict acc, float p, size_t head_dim,
                              const float *restrict v) {
#pragma omp simd
    for (size_t i = 0; i < head_dim; i++) acc[i] += p * v[i];
}

void sp_attention_few_values(float *restrict acc, const float *restrict scores, size_t ld_scores,
                             size_t n_queries, size_t head_dim, const float *restrict v, size_t ld,
                             size_t n) {
    size_t j = 0;
    for (; j + AT_ONCE <= n; j += AT_ONCE)
        for (size_t i = 0; i < n_queries; i++)
            add_rows(acc + i * head_dim, scores + i * ld_scores + j, head_dim, v + j * ld, ld);
    for (; j < n; j++)
        for (size_t i = 0; i < n_queries; i++)
            add_row(acc + i * head_dim, scores[i * ld_scores + j], head_dim, v + j * ld);
}
