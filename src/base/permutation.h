/* A random order of n things without a table: each place is computed when asked for, so that a rank
   that needs a few samples of a billion pays for those only.

   A balanced Feistel network, whose round function is Philox under the key, permutes the smallest
   power of 4 that holds n; places outside [0, n) walk on along their cycle (Black and Rogaway,
   Ciphers with Arbitrary Finite Domains, CT-RSA 2002), fewer than four steps on average. */
#pragma once

#include <stdint.h>

/* The image of `index`, which is below n, under the permutation of [0, n) that `key` names. */
uint64_t sp_permute(uint64_t index, uint64_t n, uint64_t key);
