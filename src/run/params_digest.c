#include "run/params_digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void sp_tensor_hash_add(sp_tensor_hash *hash, const float *rows, size_t row_begin, size_t n_rows,
                        size_t row_values) {
    for (size_t r = 0; r < n_rows; r++) {
        const XXH128_hash_t row = XXH3_128bits_withSeed(
            rows + r * row_values, row_values * sizeof *rows, (uint64_t)(row_begin + r));
        hash->low += row.low64;
        hash->high += row.high64;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sp_tensor_hash *)a)->name, ((const sp_tensor_hash *)b)->name);
}

/* Puts the sums of equal names together; returns how many names there are. */
static size_t add_up(sp_tensor_hash *hashes, size_t n) {
    size_t n_tensors = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_tensors > 0 && by_name(&hashes[n_tensors - 1], &hashes[i]) == 0) {
            hashes[n_tensors - 1].low += hashes[i].low;
            hashes[n_tensors - 1].high += hashes[i].high;
        } else {
            hashes[n_tensors++] = hashes[i];
        }
    }
    return n_tensors;
}

void sp_params_digest(char digest[SP_PARAMS_DIGEST_SIZE], sp_tensor_hash *hashes, size_t n) {
    if (n > 0) qsort(hashes, n, sizeof *hashes, by_name);
    const size_t n_tensors = add_up(hashes, n);
    const XXH128_hash_t sum = XXH3_128bits(hashes, n_tensors * sizeof *hashes);
    snprintf(digest, SP_PARAMS_DIGEST_SIZE, "%016llx%016llx", (unsigned long long)sum.high64,
             (unsigned long long)sum.low64);
}
