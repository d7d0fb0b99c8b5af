/* Rotary position embedding, as Hugging Face's Llama: each head's first half is rotated against its
   second half. With i < head_dim / 2 and angle = position * inv_freq[i]:

       y[i]                = x[i] cos(angle) - x[i + head_dim/2] sin(angle)
       y[i + head_dim / 2] = x[i + head_dim/2] cos(angle) + x[i] sin(angle)

   Su et al. 2021 (arXiv 2104.09864). f32 throughout, angles included, as there. head_dim is even.
   Nothing allocates or fails. Rows are spread over OpenMP threads. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* config.json's rope scaling of type "llama3": long waves are slowed by `factor`, short ones kept,
   those between are blended. */
typedef struct sp_rope_llama3 {
    double factor, low_freq_factor, high_freq_factor;
    size_t original_max_position_embeddings; /* tokens */
} sp_rope_llama3;

/* Writes inv_freq [head_dim / 2]: theta^(-2i / head_dim), rescaled unless `scaling` is NULL. */
void sp_rope_make_inv_freq(float *inv_freq, size_t head_dim, double theta,
                           const sp_rope_llama3 *scaling);

typedef struct sp_rope {
    const float *cos, *sin; /* [n_positions, head_dim / 2], borrowed */
    size_t head_dim, n_positions;
} sp_rope;

/* Writes cos and sin [n_positions, head_dim / 2] from inv_freq [head_dim / 2]. */
void sp_rope_make_table(float *cos, float *sin, const float *inv_freq, size_t head_dim,
                        size_t n_positions);

/* Rotates x [n_rows, n_heads * head_dim] in place; rows lie ld values apart. positions [n_rows] are
   below n_positions. */
void sp_rope_forward(const sp_rope *rope, float *x, size_t ld, const uint32_t *positions,
                     size_t n_rows, size_t n_heads);

/* Turns dL/dy into dL/dx in place: the inverse rotation. */
void sp_rope_backward(const sp_rope *rope, float *dy, size_t ld, const uint32_t *positions,
                      size_t n_rows, size_t n_heads);
