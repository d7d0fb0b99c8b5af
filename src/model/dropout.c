#include "model/dropout.h"

#include "tensor/cpu.h"

/* Philox4x32-10 for this many counters at once: a loop without branches over lanes vectorises. */
enum { LANES = 16, VALUES_A_COUNTER = 8, CHUNK = LANES * VALUES_A_COUNTER };

typedef struct place {
    uint32_t key[2];
    uint32_t row, module;
} place;

/* Fills scale[CHUNK] with 0 or 1 / (1 - p) for columns [first_counter * 8, + CHUNK). */
static inline __attribute__((always_inline)) void
draw(float *restrict scale, place at, uint32_t first_counter, uint32_t threshold, float kept) {
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
    for (uint32_t i = 0; i < LANES; i++) {
        c0[i] = first_counter + i;
        c1[i] = at.row;
        c2[i] = at.module;
        c3[i] = 0;
    }
    uint32_t k0 = at.key[0], k1 = at.key[1];
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < LANES; i++) {
            const uint64_t a = (uint64_t)0xD2511F53U * c0[i], b = (uint64_t)0xCD9E8D57U * c2[i];
            c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
            c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)b;
            c3[i] = (uint32_t)a;
        }
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    const uint32_t *const words[] = {c0, c1, c2, c3};
    for (size_t w = 0; w < 4; w++)
        for (size_t i = 0; i < LANES; i++) {
            scale[(2 * w) * LANES + i] = (words[w][i] & 0xFFFFU) < threshold ? 0 : kept;
            scale[(2 * w + 1) * LANES + i] = words[w][i] >> 16 < threshold ? 0 : kept;
        }
}

SP_CLONES static void scale_row(float *y, const float *x, size_t d, place at, uint32_t threshold,
                                float kept) {
    float scale[CHUNK];
    for (size_t begin = 0; begin < d; begin += CHUNK) {
        draw(scale, at, (uint32_t)(begin / VALUES_A_COUNTER), threshold, kept);
        const size_t n = d - begin < CHUNK ? d - begin : CHUNK;
        for (size_t i = 0; i < n; i++) y[begin + i] = x[begin + i] * scale[i];
    }
}

SP_CLONES static void add_scaled_row(float *restrict dx, const float *restrict dy, size_t d,
                                     place at, uint32_t threshold, float kept) {
    float scale[CHUNK];
    for (size_t begin = 0; begin < d; begin += CHUNK) {
        draw(scale, at, (uint32_t)(begin / VALUES_A_COUNTER), threshold, kept);
        const size_t n = d - begin < CHUNK ? d - begin : CHUNK;
        for (size_t i = 0; i < n; i++) dx[begin + i] += dy[begin + i] * scale[i];
    }
}

static place place_of(uint64_t sample, size_t row, uint32_t module) {
    return (place){.key = {(uint32_t)sample, (uint32_t)(sample >> 32)},
                   .row = (uint32_t)row,
                   .module = module};
}

static uint32_t threshold_of(float p) { return (uint32_t)(p * 65536.0F + 0.5F); }

void sp_dropout_forward(float *y, const float *x, size_t d, const sp_rows *rows, uint32_t module,
                        float p) {
    const uint32_t threshold = threshold_of(p);
    const float kept = 1 / (1 - p);
    for (size_t s = 0; s < rows->n_seqs; s++) {
        const sp_attention_seq *seq = &rows->seqs[s];
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < seq->len; r++) {
            const size_t k = (seq->begin + r) * d;
            scale_row(y + k, x + k, d, place_of(rows->samples[s], r, module), threshold, kept);
        }
    }
}

void sp_dropout_backward(float *restrict dx, const float *restrict dy, size_t d,
                         const sp_rows *rows, uint32_t module, float p) {
    const uint32_t threshold = threshold_of(p);
    const float kept = 1 / (1 - p);
    for (size_t s = 0; s < rows->n_seqs; s++) {
        const sp_attention_seq *seq = &rows->seqs[s];
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < seq->len; r++) {
            const size_t k = (seq->begin + r) * d;
            add_scaled_row(dx + k, dy + k, d, place_of(rows->samples[s], r, module), threshold,
                           kept);
        }
    }
}
