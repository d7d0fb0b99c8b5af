#include "tensor/embedding.h"

#include "tensor/cpu.h"

void sp_embedding_read(float *out, const sp_tensor *table, const int32_t *ids, size_t n_rows) {
    const size_t d = sp_tensor_row_values(table);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        if (ids[r] >= 0) sp_tensor_read_rows(table, out + r * d, (size_t)ids[r], 1);
}

void sp_embedding_gather(float *out, const sp_linear *table, const int32_t *ids, size_t n_rows) {
    const size_t d = sp_linear_n_in(table);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++)
        if (ids[r] >= 0) sp_linear_read_row(table, out + r * d, (size_t)ids[r]);
}

SP_CLONES static void add(float *restrict y, const float *restrict x, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

/* A block of columns belongs to one thread, which meets the rows in their order. */
void sp_embedding_scatter_add(float *dtable, const float *dy, const int32_t *ids, size_t n_rows,
                              size_t d) {
    enum { BLOCK = 64 }; /* columns: four cache lines, so that threads share none */
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < d; begin += BLOCK) {
        const size_t n = d - begin < BLOCK ? d - begin : BLOCK;
        for (size_t r = 0; r < n_rows; r++)
            if (ids[r] >= 0) add(dtable + (size_t)ids[r] * d + begin, dy + r * d + begin, n);
    }
}
