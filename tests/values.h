/* Inputs of tests: the same in every run. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Writes values in [-1, 1). */
static inline void fill_values(float *values, size_t n_values, uint32_t seed) {
    for (size_t i = 0; i < n_values; i++) {
        seed = seed * 1664525U + 1013904223U;
        values[i] = (float)(seed >> 8) / (float)(1U << 23) - 1.0F;
    }
}
