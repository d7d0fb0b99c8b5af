/* Random numbers that depend on what they are for, never on who draws them or when.

   Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011)
   turns a 128-bit counter and a 64-bit key into 128 random bits. There is no state: equal counters
   give equal bits on every rank, in every run and at every recomputation. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void sp_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* One of 2^24 equally spaced numbers in [0, 1). */
static inline float sp_uniform(uint32_t bits) { return (float)(bits >> 8) * 0x1p-24f; }

/* Two independent numbers from N(0, 1), by Box and Muller. */
void sp_normal_pair(float normal[2], uint32_t bits0, uint32_t bits1);

/* Numbers for one purpose, such as the initial values of one tensor: number `index` is a function
   of seed, name and index alone. A stream of uniform numbers and one of normal numbers under the same
   name are not independent: give each its own name. */
typedef struct sp_stream {
    uint64_t seed, name_hash;
} sp_stream;

sp_stream sp_stream_of(uint64_t seed, const char *name);

/* values [n] become the stream's numbers begin .. begin + n - 1, uniform from low to high. */
void sp_stream_uniform(const sp_stream *stream, uint64_t begin, float *values, size_t n, float low,
                       float high);

/* The same from N(mean, std^2). */
void sp_stream_normal(const sp_stream *stream, uint64_t begin, float *values, size_t n, float mean,
                      float std);
