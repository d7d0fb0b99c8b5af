#include "run/outline.h"

#include "base/memory.h"
#include "io/model_source.h"
#include "run/models.h"

#include <stdlib.h>

/* Says as opening it would why there is no model. */
static sp_status refuse(const char *path) {
    sp_model_source source = {0};
    SP_TRY(sp_model_source_open(&source, path));
    sp_model_source_close(&source);
    return sp_fail(SP_BAD_DATA, "'%s': no config.json there", path);
}

/* cut: of the encoder, the run's configuration; NULL: the whole model. */
static sp_status outline_model(sp_weights *weights, const char *path, sp_precision precision,
                               const sp_run_config *cut) {
    json_t *json = NULL;
    sp_model_config config;
    SP_TRY(sp_model_config_json_load(&json, path));
    if (json == NULL) return refuse(path);
    sp_status status = cut != NULL ? sp_models_cut_encoder(json, cut) : SP_OK;
    if (status == SP_OK) status = sp_model_config_read(&config, json, path);
    json_decref(json);
    if (status == SP_OK) status = sp_weights_outline(weights, &config, precision);
    return status;
}

static sp_status create(sp_outline *outline, const sp_run_config *config) {
    sp_precision of_encoder = SP_PRECISION_F32, of_decoder = SP_PRECISION_F32;
    sp_compressor_options options = {.is_outline = true};
    sp_models_precisions(config, &of_encoder, &of_decoder);
    SP_TRY(outline_model(&outline->encoder, config->encoder.model, of_encoder, config));
    SP_TRY(outline_model(&outline->decoder, config->decoder.model, of_decoder, NULL));
    outline->shares_weights = sp_models_share_weights(config);
    SP_TRY(sp_models_options(&options, config));
    options.encoder = &outline->encoder;
    options.decoder = &outline->decoder;
    options.d_encoder = outline->encoder.config.d_model;
    options.d_decoder = outline->decoder.config.d_model;
    return sp_compressor_create(&outline->compressor, &options);
}

sp_status sp_outline_create(sp_outline *outline, const sp_run_config *config) {
    const sp_status status = create(outline, config);
    if (status != SP_OK) sp_outline_release(outline);
    return status;
}

void sp_outline_release(sp_outline *outline) {
    sp_compressor_destroy(outline->compressor);
    sp_weights_free(&outline->decoder);
    sp_weights_free(&outline->encoder);
    *outline = (sp_outline){0};
}

sp_status sp_outline_fill(const sp_outline *outline, sp_batch *batch, const sp_run_config *config,
                          size_t n_segments) {
    const sp_model_config *decoder = &outline->decoder.config;
    const size_t n = config->segment.tokens;
    const sp_layout layout = sp_run_config_layout(config, decoder);
    void *ids = NULL;
    SP_TRY(sp_alloc_array(&ids, n, sizeof(int32_t), "a segment"));
    const bool reconstructs = config->objective.reconstruction > 0;
    const bool completes = config->objective.completion > 0;
    const bool draws_one = config->objective.draw == SP_DRAW_ONE && reconstructs;
    sp_batch_clear(batch);
    batch->is_training = true;
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < n_segments; i++)
        status = sp_layout_add_sample(&layout, batch,
                                      &(sp_sample){.encoder_ids = ids,
                                                   .n_encoder_ids = n,
                                                   .decoder_ids = ids,
                                                   .n_decoder_ids = n,
                                                   .next_ids = ids,
                                                   .n_next_ids = n,
                                                   .reconstructs = reconstructs,
                                                   .completes = completes && !draws_one});
    free(ids);
    return status;
}
