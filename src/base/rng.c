#include "base/rng.h"

#include <math.h>
#include <string.h>

#include <xxhash.h>

enum { N_PHILOX_ROUNDS = 10, N_LANES = 4 };

void sp_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    const uint64_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;
    const uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85; /* golden ratio, sqrt(3) - 1 */
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t key0 = key[0], key1 = key[1];
    for (int round = 0; round < N_PHILOX_ROUNDS; round++) {
        const uint64_t product0 = multiplier0 * x0, product1 = multiplier1 * x2;
        x0 = (uint32_t)(product1 >> 32) ^ x1 ^ key0;
        x1 = (uint32_t)product1;
        x2 = (uint32_t)(product0 >> 32) ^ x3 ^ key1;
        x3 = (uint32_t)product0;
        key0 += weyl0;
        key1 += weyl1;
    }
    out[0] = x0, out[1] = x1, out[2] = x2, out[3] = x3;
}

void sp_normal_pair(float normal[2], uint32_t bits0, uint32_t bits1) {
    /* In (0, 1), so that the logarithm is finite; 32 bits reach out to 6.7 deviations. */
    const double u0 = ((double)bits0 + 0.5) * 0x1p-32, u1 = (double)bits1 * 0x1p-32;
    const double radius = sqrt(-2 * log(u0)), angle = 2 * M_PI * u1;
    normal[0] = (float)(radius * cos(angle));
    normal[1] = (float)(radius * sin(angle));
}

sp_stream sp_stream_of(uint64_t seed, const char *name) {
    return (sp_stream){.seed = seed, .name_hash = XXH3_64bits(name, strlen(name))};
}

/* Number `index` lies in lane index % 4 of block index / 4. */
static void draw_block(uint32_t bits[N_LANES], const sp_stream *stream, uint64_t block) {
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32),
                                 (uint32_t)stream->name_hash, (uint32_t)(stream->name_hash >> 32)};
    const uint32_t key[2] = {(uint32_t)stream->seed, (uint32_t)(stream->seed >> 32)};
    sp_philox(bits, counter, key);
}

/* Copies lanes of block `block` to where they belong in values [n], which hold begin .. */
static void put_lanes(float *values, uint64_t begin, size_t n, uint64_t block,
                      const float lanes[N_LANES]) {
    for (uint64_t lane = 0; lane < N_LANES; lane++) {
        const uint64_t index = block * N_LANES + lane;
        if (index >= begin && index - begin < n) values[index - begin] = lanes[lane];
    }
}

void sp_stream_uniform(const sp_stream *stream, uint64_t begin, float *values, size_t n, float low,
                       float high) {
    for (uint64_t block = begin / N_LANES; block * N_LANES < begin + n; block++) {
        uint32_t bits[N_LANES];
        float lanes[N_LANES];
        draw_block(bits, stream, block);
        for (int lane = 0; lane < N_LANES; lane++)
            lanes[lane] = low + (high - low) * sp_uniform(bits[lane]);
        put_lanes(values, begin, n, block, lanes);
    }
}

void sp_stream_normal(const sp_stream *stream, uint64_t begin, float *values, size_t n, float mean,
                      float std) {
    for (uint64_t block = begin / N_LANES; block * N_LANES < begin + n; block++) {
        uint32_t bits[N_LANES];
        float lanes[N_LANES];
        draw_block(bits, stream, block);
        sp_normal_pair(lanes, bits[0], bits[1]);
        sp_normal_pair(lanes + 2, bits[2], bits[3]);
        for (int lane = 0; lane < N_LANES; lane++) lanes[lane] = mean + std * lanes[lane];
        put_lanes(values, begin, n, block, lanes);
    }
}
