/* Rotary position embedding, as in Hugging Face's models: the first half of a head's rotated values
   turns against the second half. With n = rotary_dim, i < n / 2 and angle = position * inv_freq[i]:

       y[i]         = a (x[i] cos(angle) - x[i + n/2] sin(angle))
       y[i + n / 2] = a (x[i + n/2] cos(angle) + x[i] sin(angle))

   Su et al. 2021 (arXiv 2104.09864). Values of a head beyond rotary_dim stay as they are. a is 1 but
   for the scalings that say otherwise. f32 throughout, angles included, as there. rotary_dim is
   even. Nothing allocates or fails. Rows are spread over OpenMP threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How frequencies are changed for contexts longer than the trained one; config.json's rope_type. */
typedef enum sp_rope_kind {
    SP_ROPE_DEFAULT,
    SP_ROPE_LINEAR,  /* all waves are slowed by `factor` */
    SP_ROPE_LLAMA3,  /* long waves are slowed, short ones kept, those between blended */
    SP_ROPE_YARN,    /* Peng et al. 2023 (arXiv 2309.00071): likewise, by turns in the context */
    SP_ROPE_LONGROPE /* Ding et al. 2024 (arXiv 2402.13753): each wave by a factor of its own, from
                        one of two lists as the sequence is longer than the trained context or not */
} sp_rope_kind;

enum { SP_LONGROPE_MOST = 256 }; /* frequencies that longrope may list: heads of 512 */

typedef struct sp_rope_scaling {
    sp_rope_kind kind;
    double factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: turns in the context */
    bool is_truncated;                        /* yarn: whole bounds */
    float short_factor[SP_LONGROPE_MOST], long_factor[SP_LONGROPE_MOST]; /* [rotary_dim / 2] */
    double attention_factor;                 /* yarn and longrope: a above */
    size_t original_max_position_embeddings; /* tokens of the trained context */
} sp_rope_scaling;                           /* all zero: no scaling */

/* Writes inv_freq [rotary_dim / 2]: theta^(-2i / rotary_dim), rescaled. is_long chooses longrope's
   second list. */
void sp_rope_make_inv_freq(float *inv_freq, size_t rotary_dim, double theta,
                           const sp_rope_scaling *scaling, bool is_long);

/* Rows of the tables are what positions index: the positions themselves, or, where two lists of
   frequencies alternate, 2 * position + is_long. */
typedef struct sp_rope {
    const float *cos, *sin; /* [n_rows, rotary_dim / 2], borrowed */
    size_t head_dim, rotary_dim, n_rows;
} sp_rope;

/* Writes cos and sin, times `amplitude`, of positions 0 .. n_positions - 1 to rows that are
   `stride` apart, from inv_freq [rotary_dim / 2]. */
void sp_rope_make_table(float *cos, float *sin, const float *inv_freq, size_t rotary_dim,
                        double amplitude, size_t n_positions, size_t stride);

/* Rotates x [n_rows, n_heads * head_dim] in place; rows lie ld values apart. table_rows [n_rows] are
   below rope->n_rows. */
void sp_rope_forward(const sp_rope *rope, float *x, size_t ld, const uint32_t *table_rows,
                     size_t n_rows, size_t n_heads);

/* Turns dL/dy into dL/dx in place: the transposed rotation. */
void sp_rope_backward(const sp_rope *rope, float *dy, size_t ld, const uint32_t *table_rows,
                      size_t n_rows, size_t n_heads);
