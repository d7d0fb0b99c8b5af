/* The models of a run: encoder and decoder opened as a configuration names them, and the compressor
   over them. Where both are the same file in the same precision, one copy of the weights serves
   both. */
#pragma once

#include "io/checkpoint.h"
#include "io/model_source.h"
#include "pcc/compressor.h"
#include "run/decoding.h"
#include "run/run_config.h"

/* Which sides a command needs; the other's file is then not even opened. With neither there is the
   converter alone. */
typedef enum sp_sides {
    SP_SIDES_BOTH,
    SP_SIDES_ENCODER,
    SP_SIDES_DECODER,
    SP_SIDES_NEITHER
} sp_sides;

typedef struct sp_models {
    sp_model_source encoder_source, decoder_source; /* the latter empty where both are one */
    sp_weights encoder, decoder;                    /* the latter empty where both are one */
    const sp_weights *encoder_weights, *decoder_weights;
    sp_compressor *compressor;
} sp_models; /* all zero: empty */

/* Opens the models of `config` and makes the compressor, without gradients; parameters are as the
   checkpoint has them, or, if it is NULL, start as pcc.md §4 says. */
SP_NODISCARD sp_status sp_models_open(sp_models *models, const sp_run_config *config,
                                      sp_sides sides, const sp_checkpoint *checkpoint);

/* Opens what of them a rank of a training run holds: the blocks of has_block [n_blocks] (NULL: all),
   with the weights that these need; has_gradients: parameters have gradients of their own. */
SP_NODISCARD sp_status sp_models_open_part(sp_models *models, const sp_run_config *config,
                                           const bool *has_block, bool has_gradients,
                                           const sp_checkpoint *checkpoint);

/* What a configuration comes to, apart from its models: precisions of their frozen weights, whether one
   copy of these serves both sides, and the compressor's options. */
void sp_models_precisions(const sp_run_config *config, sp_precision *of_encoder,
                          sp_precision *of_decoder);
bool sp_models_share_weights(const sp_run_config *config);
SP_NODISCARD sp_status sp_models_options(sp_compressor_options *options,
                                         const sp_run_config *config);

/* Makes the encoder's config.json what encoder.layers says. SP_USAGE: it has fewer. */
SP_NODISCARD sp_status sp_models_cut_encoder(json_t *json, const sp_run_config *config);

/* Reads every parameter of the compressor from a checkpoint. SP_BAD_DATA: one is missing or has
   another shape. */
SP_NODISCARD sp_status sp_models_load(sp_models *models, const sp_checkpoint *checkpoint);

/* Likewise of the encoder alone, with its memory tokens: the decoder may be another one. */
SP_NODISCARD sp_status sp_models_load_encoder(sp_models *models, const sp_checkpoint *checkpoint);

/* Where the decoder's generation ends: after max_new_tokens, or at an id that the model's makers or
   its training end a text with. Borrows from the models. */
sp_decoding_limits sp_models_decoding_limits(const sp_models *models, size_t max_new_tokens);

/* Reads the configuration that a checkpoint was made with, and what `auto` came to in it. Release with sp_run_config_free(). */
SP_NODISCARD sp_status sp_models_read_config(sp_run_config *config,
                                             const sp_checkpoint *checkpoint);

void sp_models_close(sp_models *models);
