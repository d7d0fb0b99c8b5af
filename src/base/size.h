/* Sizes that cannot wrap: a product or sum that comes from outside and reaches an allocator, an
   offset or an MPI count goes through here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* *product = a * b; false, with *product unspecified, if that does not fit. */
static inline bool sp_size_mul(size_t *product, size_t a, size_t b) {
    return !__builtin_mul_overflow(a, b, product);
}

/* *sum = a + b; false, with *sum unspecified, if that does not fit. */
static inline bool sp_size_add(size_t *sum, size_t a, size_t b) {
    return !__builtin_add_overflow(a, b, sum);
}

/* The parts of at most b that a is made of; b > 0. */
static inline size_t sp_divide_up(size_t a, size_t b) { return a / b + (a % b != 0); }
