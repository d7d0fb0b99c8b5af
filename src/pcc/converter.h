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

/* After their allocation: first values as torch's Linear, uniform within 1 / sqrt(n_in) for weight
   and bias; norm 1. */
SP_NODISCARD sp_status sp_converter_bind(sp_converter *converter, uint64_t seed);
/* Instead of bind(), where parameters are not allocated: for costs. */
SP_NODISCARD sp_status sp_converter_outline(sp_converter *converter);
void sp_converter_release(sp_converter *converter);

/* Makes the block of `converter` (borrowed) into *block, owned. */
SP_NODISCARD sp_status sp_converter_block_create(sp_block **block, const sp_converter *converter);
