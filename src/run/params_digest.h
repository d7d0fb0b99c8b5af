/* The identity of a set of trained parameters: a digest that every grid of ranks computes alike.

   Each row of a tensor is hashed alone (XXH3-128, seeded with the row's number); a tensor's hash is
   the sum of its rows', so that ranks that hold some of the rows each add up theirs. The digest is
   over names and hashes of all tensors in order of their names. A vector's rows are its values. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    SP_PARAMS_DIGEST_SIZE = 33 /* 32 hexadecimal digits and a NUL */,
    SP_HASHED_NAME_SIZE = 256
};

/* Sum over some or all rows of a tensor. Has no pointers: it may be sent to another process. */
typedef struct sp_tensor_hash {
    char name[SP_HASHED_NAME_SIZE]; /* padded with NUL: it is hashed as it is */
    uint64_t low, high;
} sp_tensor_hash;

/* Adds rows [row_begin, row_begin + n_rows), given as rows [n_rows, row_values], to the sum. */
void sp_tensor_hash_add(sp_tensor_hash *hash, const float *rows, size_t row_begin, size_t n_rows,
                        size_t row_values);

/* Writes the digest of what the hashes [n] add up to; those of one name are of one tensor. Sorts
   them. */
void sp_params_digest(char digest[SP_PARAMS_DIGEST_SIZE], sp_tensor_hash *hashes, size_t n);
