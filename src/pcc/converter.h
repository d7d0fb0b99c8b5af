/* The converter: memory to slots (pcc.md §2), a block of the chain.

       slots = out(gelu(in(rmsnorm(memory))))      norm eps 1e-6; in, out linear with bias; GELU by erf

   memory [n_taken, d_enc], slots [n_taken, d_dec]. Parameters: converter.norm.weight [d_enc],
   converter.in.{weight [d_dec, d_enc], bias}, converter.out.{weight [d_dec, d_dec], bias}. */
#pragma once

#include "chain/chain.h"
#include "model/adapted_linear.h"

typedef struct sp_converter {
    sp_param *norm;
    sp_adapted_linear in, out;
} sp_converter;

/* Declares the parameters. */
SP_NODISCARD sp_status sp_converter_declare(sp_converter *converter, sp_params *params,
                                            size_t d_encoder, size_t d_decoder);

/* How its first values are drawn. */
typedef enum sp_converter_init { SP_CONVERTER_RANDOM, SP_CONVERTER_IDENTITY } sp_converter_init;

/* After their allocation: first values as torch's Linear, uniform within 1 / sqrt(n_in) for weight
   and bias; norm 1. */
SP_NODISCARD sp_status sp_converter_bind(sp_converter *converter, uint64_t seed);

/* Instead of bind(), where d_enc = d_dec: first values near the identity, in its direction and at a size
   of its own. GELU is linear near 0, with slope 1/2:

       in = a I,  out = (2 size / a) I,  biases 0,  a = 1/16
       slots = size z (1 + 0.8 a z + O(a^2 z^2)),  z = rmsnorm(memory)

   each value of z, whose size is around 1, to some 5 %. norm_weight [d_enc], borrowed during the
   call, is the weight of the encoder's last norm, which this one undoes: z is then the last layer's
   output, scaled to 1 a row. NULL: of ones. */
SP_NODISCARD sp_status sp_converter_bind_identity(sp_converter *converter, float size,
                                                  const float *norm_weight);
/* Instead of bind(), where parameters are not allocated: for costs. */
SP_NODISCARD sp_status sp_converter_outline(sp_converter *converter);
void sp_converter_release(sp_converter *converter);

/* Makes the block of `converter` (borrowed) into *block, owned. */
SP_NODISCARD sp_status sp_converter_block_create(sp_block **block, const sp_converter *converter);
