#include "base/permutation.h"

#include "base/rng.h"

#include <assert.h>

/* Even, so that the halves end where they began; four make a strong permutation of large domains
   (Luby and Rackoff), and the others serve the small ones. */
enum { N_FEISTEL_ROUNDS = 8 };

/* A permutation of [0, 4^half_bits). */
static uint64_t feistel(uint64_t x, int half_bits, uint64_t key) {
    const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    const uint32_t philox_key[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    uint64_t left = x >> half_bits, right = x & mask;
    for (uint32_t round = 0; round < N_FEISTEL_ROUNDS; round++) {
        const uint32_t counter[4] = {(uint32_t)right, round, (uint32_t)half_bits, 0};
        uint32_t bits[4];
        sp_philox(bits, counter, philox_key);
        const uint64_t mixed = left ^ (bits[0] & mask);
        left = right;
        right = mixed;
    }
    return left << half_bits | right;
}

static int half_bits_for(uint64_t n) {
    int half_bits = 1;
    while (half_bits < 32 && (UINT64_C(1) << 2 * half_bits) < n) half_bits++;
    return half_bits;
}

uint64_t sp_permute(uint64_t index, uint64_t n, uint64_t key) {
    assert(index < n);
    const int half_bits = half_bits_for(n);
    /* The walk ends: the cycle through `index` comes back to it, and it is below n. */
    do index = feistel(index, half_bits, key);
    while (index >= n);
    return index;
}
