#include "model/language_model.h"

#include "model/layer_block.h"

sp_status sp_chain_append_layers(sp_chain *chain, const sp_transformer *transformer, sp_side side,
                                 bool has_input) {
    sp_block *block = NULL;
    if (transformer->has_block[0])
        SP_TRY(sp_embed_block_create(&block, &transformer->embedding, side, has_input));
    SP_TRY(sp_chain_append(chain, block));
    for (size_t l = 0; l < transformer->weights->config.n_layers; l++) {
        block = NULL;
        if (transformer->has_block[1 + l])
            SP_TRY(sp_layer_block_create(&block, &transformer->layers[l], side));
        SP_TRY(sp_chain_append(chain, block));
    }
    return SP_OK;
}

sp_status sp_chain_append_loss(sp_chain *chain, const sp_transformer *transformer, sp_side side) {
    const size_t last = transformer->weights->config.n_layers + 1;
    if (!transformer->has_block[last]) return sp_chain_append(chain, NULL);
    sp_block *block = NULL;
    SP_TRY(sp_loss_block_create(&block, &transformer->weights->config, &transformer->final_norm,
                                transformer->weights->head, side));
    return sp_chain_append(chain, block);
}

static sp_status create(sp_language_model *model, const sp_weights *weights) {
    const sp_transformer_options options = {.training = SP_TRAIN_NONE, .prefix = ""};
    SP_TRY(sp_transformer_create(&model->transformer, weights, &options, &model->params));
    SP_TRY(sp_params_allocate(&model->params));
    SP_TRY(sp_transformer_bind(model->transformer, 0, NULL, "model"));
    SP_TRY(sp_chain_append_layers(&model->chain, model->transformer, SP_DECODER, false));
    return sp_chain_append_loss(&model->chain, model->transformer, SP_DECODER);
}

sp_status sp_language_model_create(sp_language_model *model, const sp_weights *weights) {
    *model = (sp_language_model){.params = {.are_frozen = true}};
    const sp_status status = create(model, weights);
    if (status != SP_OK) sp_language_model_destroy(model);
    return status;
}

void sp_language_model_destroy(sp_language_model *model) {
    sp_chain_destroy(&model->chain);
    sp_transformer_destroy(model->transformer);
    sp_params_free(&model->params);
    *model = (sp_language_model){0};
}
