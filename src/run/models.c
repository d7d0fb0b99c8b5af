#include "run/models.h"

#include "run/precision_choice.h"

#include <stdlib.h>
#include <string.h>

static sp_precision resolve(sp_asked_precision asked, sp_precision chosen) {
    static const sp_precision precisions[] = {[SP_ASKED_F32] = SP_PRECISION_F32,
                                              [SP_ASKED_BF16] = SP_PRECISION_BF16,
                                              [SP_ASKED_INT8] = SP_PRECISION_INT8};
    return asked == SP_ASKED_AUTO ? chosen : precisions[asked];
}

static bool is_same_file(const char *a, const char *b) {
    char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
    const bool is_same = real_a != NULL && real_b != NULL && strcmp(real_a, real_b) == 0;
    free(real_a);
    free(real_b);
    return is_same;
}

/* What is opened, and where from. */
typedef struct opening {
    const sp_run_config *config;
    sp_sides sides;
    const bool *has_block; /* [n_blocks]; NULL: all */
    bool has_gradients, is_training;
    const sp_checkpoint *checkpoint; /* or NULL */
} opening;

static sp_status load_weights(sp_weights *weights, const sp_model_source *source,
                              sp_precision precision, sp_weights_part part) {
    return sp_weights_load(weights, &source->tensors, source->config, precision, part,
                           source->path);
}

void sp_models_precisions(const sp_run_config *config, sp_precision *of_encoder,
                          sp_precision *of_decoder) {
    *of_encoder = resolve(config->train.precision, config->chosen.encoder);
    *of_decoder = resolve(config->decoder.precision, config->chosen.decoder);
}

bool sp_models_share_weights(const sp_run_config *config) {
    sp_precision of_encoder, of_decoder;
    sp_models_precisions(config, &of_encoder, &of_decoder);
    return config->encoder.train != SP_ENCODER_FULL && config->encoder.layers == SP_COUNT_AUTO &&
           of_encoder == of_decoder && is_same_file(config->encoder.model, config->decoder.model);
}

sp_status sp_models_cut_encoder(json_t *json, const sp_run_config *config) {
    if (config->encoder.layers == SP_COUNT_AUTO) return SP_OK;
    const sp_status status =
        sp_model_config_cut(json, config->encoder.layers, config->encoder.model);
    return status == SP_USAGE ? sp_fail(SP_USAGE, "encoder.layers: %s", sp_message()) : status;
}

/* Narrows a part of a model's weights to the blocks that are here: has_block [n_layers + 2] of the
   encoder, or of the decoder. Where both use the weights a block of either will do; a norm is wanted
   for the encoder's last block, norm and head for the decoder's. which [n_layers] is filled. */
static void narrow(sp_weights_part *part, bool *which, size_t n_layers, const bool *of_encoder,
                   const bool *of_decoder) {
    bool has_encoder_end = false, has_decoder_end = false;
    memset(which, 0, n_layers * sizeof *which);
    for (size_t l = 0; l < n_layers; l++)
        which[l] =
            (of_encoder != NULL && of_encoder[1 + l]) || (of_decoder != NULL && of_decoder[1 + l]);
    if (of_encoder != NULL) has_encoder_end = of_encoder[n_layers + 1];
    if (of_decoder != NULL) has_decoder_end = of_decoder[n_layers + 1];
    part->which_layers = which;
    part->final_norm = part->final_norm && (has_encoder_end || has_decoder_end);
    part->head = part->head && has_decoder_end;
}

static sp_status count_layers(size_t *n_layers, const sp_model_source *source) {
    sp_model_config config;
    SP_TRY(sp_model_config_read(&config, source->config, source->path));
    *n_layers = config.n_layers;
    return SP_OK;
}

static sp_status load_both(sp_models *models, const opening *o, bool is_shared,
                           sp_precision of_encoder, sp_precision of_decoder) {
    bool which[SP_MOST_LAYERS];
    size_t n_layers = 0;
    const bool is_full = o->config->encoder.train == SP_ENCODER_FULL, *decoder_blocks = NULL;
    sp_weights_part part = is_full     ? SP_WEIGHTS_FRAME
                           : is_shared ? SP_WEIGHTS_ALL
                                       : SP_WEIGHTS_BODY;
    if (models->encoder_weights != NULL) {
        SP_TRY(count_layers(&n_layers, &models->encoder_source));
        if (o->has_block != NULL) decoder_blocks = o->has_block + n_layers + 3;
        if (o->has_block != NULL)
            narrow(&part, which, n_layers, o->has_block, is_shared ? decoder_blocks : NULL);
        SP_TRY(load_weights(&models->encoder, &models->encoder_source, of_encoder, part));
    }
    if (models->decoder_weights == NULL || is_shared) return SP_OK;
    part = SP_WEIGHTS_ALL;
    SP_TRY(count_layers(&n_layers, &models->decoder_source));
    if (o->has_block != NULL) narrow(&part, which, n_layers, NULL, decoder_blocks);
    return load_weights(&models->decoder, &models->decoder_source, of_decoder, part);
}

static sp_status open_both(sp_models *models, const opening *o) {
    if (o->sides == SP_SIDES_NEITHER) return SP_OK;
    sp_precision of_encoder, of_decoder;
    sp_models_precisions(o->config, &of_encoder, &of_decoder);
    const bool is_shared = o->sides == SP_SIDES_BOTH && sp_models_share_weights(o->config);
    if (o->sides != SP_SIDES_DECODER) {
        SP_TRY(sp_model_source_open(&models->encoder_source, o->config->encoder.model));
        SP_TRY(sp_models_cut_encoder(models->encoder_source.config, o->config));
        models->encoder_weights = &models->encoder;
    }
    if (o->sides != SP_SIDES_ENCODER) {
        if (!is_shared)
            SP_TRY(sp_model_source_open(&models->decoder_source, o->config->decoder.model));
        models->decoder_weights = is_shared ? &models->encoder : &models->decoder;
    }
    return load_both(models, o, is_shared, of_encoder, of_decoder);
}

static sp_status read_lora(sp_lora_options *lora, const sp_run_config *config) {
    lora->rank = config->encoder.lora.rank;
    lora->alpha = config->encoder.lora.alpha;
    lora->dropout = config->encoder.lora.dropout;
    const sp_string_list *targets = &config->encoder.lora.targets;
    for (size_t i = 0; i < targets->n_items; i++) {
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            if (strcmp(targets->items[i], sp_role_names[role]) == 0) lora->targets[role] = true;
        if (strcmp(targets->items[i], "embed") == 0) lora->targets_embedding = true;
    }
    return SP_OK;
}

/* A side that is left out still has a width, which the converter's weights tell. */
static sp_status read_widths(sp_compressor_options *options, const sp_checkpoint *checkpoint) {
    sp_checkpoint_tensor in = {0};
    if (checkpoint != NULL && sp_checkpoint_find_tensor(checkpoint, "converter.in.weight", &in) &&
        in.n_dims == 2) {
        options->d_decoder = in.shape[0];
        options->d_encoder = in.shape[1];
    }
    if (options->encoder != NULL) options->d_encoder = options->encoder->config.d_model;
    if (options->decoder != NULL) options->d_decoder = options->decoder->config.d_model;
    if (options->d_encoder == 0 || options->d_decoder == 0)
        return sp_fail(SP_BAD_DATA, "'%s': no converter", sp_checkpoint_path(checkpoint));
    return SP_OK;
}

sp_status sp_models_options(sp_compressor_options *options, const sp_run_config *config) {
    static const sp_training trainings[] = {[SP_ENCODER_FULL] = SP_TRAIN_FULL,
                                            [SP_ENCODER_LORA] = SP_TRAIN_LORA,
                                            [SP_ENCODER_NONE] = SP_TRAIN_NONE};
    options->training = trainings[config->encoder.train];
    options->memory_tokens =
        config->encoder.memory == SP_MEMORY_OF_TOKENS ? config->encoder.memory_tokens : 0;
    options->merged_tokens =
        config->encoder.memory == SP_MEMORY_MERGED ? config->encoder.merged_tokens : 0;
    options->converter_init = config->converter.init;
    const bool brings_markers =
        config->train.init != NULL && config->train.init_parts == SP_INIT_ALL;
    options->markers_are_frozen = config->decoder.markers == SP_MARKERS_FROZEN ||
                                  (config->decoder.markers == SP_MARKERS_AUTO && brings_markers);
    options->encoder_is_frozen = config->train.only == SP_TRAIN_ONLY_CONVERTER;
    options->seed = config->run.seed;
    return read_lora(&options->lora, config);
}

static sp_status make_compressor(sp_models *models, const opening *o) {
    sp_compressor_options options = {
        .encoder = models->encoder_weights,
        .decoder = models->decoder_weights,
        .encoder_tensors = &models->encoder_source.tensors,
        .has_block = o->has_block,
        .has_no_gradients = !o->has_gradients,
    };
    SP_TRY(sp_models_options(&options, o->config));
    if (!o->is_training) options.encoder_is_frozen = false; /* then nothing is trained */
    SP_TRY(read_widths(&options, o->checkpoint));
    SP_TRY(sp_compressor_create(&models->compressor, &options));
    return o->checkpoint != NULL ? sp_models_load(models, o->checkpoint) : SP_OK;
}

static sp_status open_models(sp_models *models, const opening *o) {
    sp_status status = open_both(models, o);
    if (status == SP_OK) status = make_compressor(models, o);
    sp_model_source_give_back(&models->encoder_source);
    sp_model_source_give_back(&models->decoder_source);
    if (status != SP_OK) sp_models_close(models);
    return status;
}

sp_status sp_models_open(sp_models *models, const sp_run_config *config, sp_sides sides,
                         const sp_checkpoint *checkpoint) {
    const opening o = {.config = config, .sides = sides, .checkpoint = checkpoint};
    return open_models(models, &o);
}

sp_status sp_models_open_part(sp_models *models, const sp_run_config *config, const bool *has_block,
                              bool has_gradients, const sp_checkpoint *checkpoint) {
    const opening o = {.config = config,
                       .sides = SP_SIDES_BOTH,
                       .has_block = has_block,
                       .has_gradients = has_gradients,
                       .is_training = true,
                       .checkpoint = checkpoint};
    return open_models(models, &o);
}

static bool is_of_encoder(const sp_param *param) {
    return strncmp(param->name, "encoder.", strlen("encoder.")) == 0;
}

static sp_status load_params(const sp_params *params, const sp_checkpoint *checkpoint,
                             bool of_encoder_alone) {
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *param = params->entries[i];
        if (of_encoder_alone && !is_of_encoder(param)) continue;
        SP_TRY(sp_checkpoint_read_tensor(checkpoint, param->name, param->n_dims, param->shape,
                                         param->value));
    }
    return SP_OK;
}

sp_status sp_models_load(sp_models *models, const sp_checkpoint *checkpoint) {
    SP_TRY(load_params(&models->compressor->params, checkpoint, false));
    return load_params(&models->compressor->frozen, checkpoint, false);
}

sp_status sp_models_load_encoder(sp_models *models, const sp_checkpoint *checkpoint) {
    SP_TRY(load_params(&models->compressor->params, checkpoint, true));
    return load_params(&models->compressor->frozen, checkpoint, true);
}

sp_decoding_limits sp_models_decoding_limits(const sp_models *models, size_t max_new_tokens) {
    const sp_model_source *source = models->decoder_weights == &models->encoder
                                        ? &models->encoder_source
                                        : &models->decoder_source;
    return (sp_decoding_limits){.max_new_tokens = max_new_tokens,
                                .stop_ids = source->stop_ids,
                                .n_stop_ids = source->n_stop_ids,
                                .eos = models->decoder_weights->config.eos_token_id};
}

sp_status sp_models_read_config(sp_run_config *config, const sp_checkpoint *checkpoint) {
    const json_t *saved = json_object_get(sp_checkpoint_manifest(checkpoint), "config");
    if (!json_is_object(saved))
        return sp_fail(SP_BAD_DATA, "'%s': its manifest has no config",
                       sp_checkpoint_path(checkpoint));
    SP_TRY(sp_config_init(config, &sp_run_config_table));
    sp_precision_from_json(config,
                           json_object_get(sp_checkpoint_manifest(checkpoint), "precisions"));
    return sp_config_load_json(config, &sp_run_config_table, saved, sp_checkpoint_path(checkpoint));
}

void sp_models_close(sp_models *models) {
    sp_compressor_destroy(models->compressor);
    sp_weights_free(&models->decoder);
    sp_weights_free(&models->encoder);
    sp_model_source_close(&models->decoder_source);
    sp_model_source_close(&models->encoder_source);
    *models = (sp_models){0};
}
