/* The compressor: encoder, memory tokens, converter, markers and decoder as one chain of blocks.

       [0, encoder_end)           embed, layers, then take, pool or merge: segments to memory [n_taken, d_enc]
       encoder_end                converter: memory to slots [n_taken, d_dec]
       (encoder_end, n_blocks)    splice, decoder layers, loss

   A side that is left out has no blocks, and the chain is as much shorter; a block that lives on
   another rank leaves its place in the chain empty.

   Trained: the encoder by LoRA or in full, memory tokens, converter, and markers unless frozen; or the
   converter alone: the rest is then as a checkpoint has it, in parameters of its own.
   Made in steps: create() declares, then allocates, all parameters and gives them first values; a
   checkpoint may then overwrite them. */
#pragma once

#include "chain/pass.h"
#include "model/transformer.h"
#include "pcc/converter.h"
#include "pcc/layout.h"

typedef struct sp_compressor_options {
    /* Borrowed; may be one; NULL leaves that side out. */
    const sp_weights *encoder, *decoder;
    size_t d_encoder, d_decoder;            /* row widths; those of the weights that are there */
    const sp_tensor_table *encoder_tensors; /* borrowed during create(); for first values */
    sp_training training;
    sp_lora_options lora;
    size_t memory_tokens; /* 0: memory is of chunks */
    size_t merged_tokens; /* of the longest chunk; 0: chunks are pooled */
    /* Identity wants d_encoder = d_decoder, and encoder_tensors. */
    sp_converter_init converter_init;
    bool markers_are_frozen;
    bool encoder_is_frozen; /* with its LoRA, without dropout, and its memory tokens */
    bool has_no_gradients;  /* inference, or gradients that the caller gives a place */
    bool is_outline; /* for costs only, over outlines of weights: no parameters are allocated */
    /* [n_blocks] which blocks are here, borrowed during create(); NULL: all. */
    const bool *has_block;
    uint64_t seed;
} sp_compressor_options;

typedef struct sp_compressor {
    sp_params params, frozen; /* frozen: of an encoder that is; its groups of `params` are empty */
    sp_transformer *encoder, *decoder; /* NULL where left out */
    sp_param *memory_tokens;           /* NULL where not here, or memory is of chunks */
    sp_param *markers;                 /* NULL where not here */
    sp_adapted_linear merger;          /* empty where not here, or chunks are not merged */
    sp_converter converter;            /* empty where not here */
    bool is_of_chunks;                 /* the batches' layout is to be, too */
    sp_chain chain;
    size_t encoder_end;   /* index of the converter's block */
    size_t first_trained; /* blocks before it need no backward pass */
} sp_compressor;

/* Makes a compressor into *compressor, owned: release with sp_compressor_destroy(). */
SP_NODISCARD sp_status sp_compressor_create(sp_compressor **compressor,
                                            const sp_compressor_options *options);
void sp_compressor_destroy(sp_compressor *compressor); /* NULL is fine */

/* Blocks of a compressor's chain: those of the encoder (embed, layers, take), the converter's, those
   of the decoder (splice, layers, loss). */
static inline size_t sp_compressor_n_blocks(size_t encoder_layers, size_t decoder_layers) {
    return encoder_layers + 2 + 1 + decoder_layers + 2;
}

/* Makes both models ready for a batch, and the workspace for runs of blocks [begin, end) on it; for
   training with `pass`, which is emptied and sized, else NULL. Call it before each pass.
   SP_FAILURE: no memory; SP_BAD_DATA: more positions than a model has learned. */
SP_NODISCARD sp_status sp_compressor_reserve(sp_compressor *compressor, sp_batch *batch,
                                             size_t begin, size_t end, sp_pass *pass,
                                             sp_workspace *workspace);

/* Writes memory [n_taken, d_enc] of a batch whose encoder rows are filled. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_compressor_encode(sp_compressor *compressor, sp_batch *batch,
                                            float *memory, sp_workspace *workspace);

/* Writes slots [n, d_dec] of memory [n, d_enc]. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_compressor_convert(sp_compressor *compressor, float *slots,
                                             const float *memory, size_t n,
                                             sp_workspace *workspace);
