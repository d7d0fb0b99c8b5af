/* The compressor of a configuration in outline: its whole chain with shapes, parameters' names and
   costs, over no weights and no allocated parameters. What a run is planned and cut by: since blocks
   tell their own costs, plan and run cannot disagree. Only the models' configurations are read. */
#pragma once

#include "pcc/compressor.h"
#include "run/run_config.h"

typedef struct sp_outline {
    sp_weights encoder, decoder;
    sp_compressor *compressor;
    bool shares_weights; /* encoder and decoder run on the same frozen weights */
} sp_outline;            /* all zero: empty */

/* Makes the outline of `config` into an empty *outline. Errors as of reading the models'
   configurations. */
SP_NODISCARD sp_status sp_outline_create(sp_outline *outline, const sp_run_config *config);
void sp_outline_release(sp_outline *outline);

/* Fills a batch with n_segments full segments, each with all objectives of `config`: what a
   micro-batch is like. Its ids are all 0; the decoder is taken to have as many tokens as the
   encoder. */
SP_NODISCARD sp_status sp_outline_fill(const sp_outline *outline, sp_batch *batch,
                                       const sp_run_config *config, size_t n_segments);
