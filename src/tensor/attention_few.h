/* Inside attention.h: a block's products for few queries, in plain loops that pack nothing. Decoding
   has a row of each sequence, that is the heads of one group, against each block of its keys.

   q and acc [n_queries, head_dim]; scores [n_queries, n], rows ld_scores apart; k and v [n, head_dim],
   rows ld apart. One thread. */
#pragma once

#include <stddef.h>

/* scores = q k^T. */
void sp_attention_few_scores(float *restrict scores, size_t ld_scores, const float *restrict q,
                             size_t n_queries, size_t head_dim, const float *restrict k, size_t ld,
                             size_t n);

/* acc += scores v. */
void sp_attention_few_values(float *restrict acc, const float *restrict scores, size_t ld_scores,
                             size_t n_queries, size_t head_dim, const float *restrict v, size_t ld,
                             size_t n);
