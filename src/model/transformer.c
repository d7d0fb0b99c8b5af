#include "model/transformer.h"

#include "base/memory.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static sp_status declare_lora(sp_adapted_linear *linear, const sp_lora_options *lora,
                              sp_params *params, const char *prefix, size_t l, sp_role role) {
    const char *module = sp_roles[role].module;
    SP_TRY(sp_params_declare(params, &linear->lora_a, lora->rank, linear->n_in,
                             "%sbase_model.model.model.layers.%zu.%s.lora_A.weight", prefix, l,
                             module));
    SP_TRY(sp_params_declare(params, &linear->lora_b, linear->n_out, lora->rank,
                             "%sbase_model.model.model.layers.%zu.%s.lora_B.weight", prefix, l,
                             module));
    linear->lora_scale = (float)(lora->alpha / (double)lora->rank);
    linear->lora_dropout = (float)lora->dropout;
    return SP_OK;
}

static sp_status create_layer(sp_transformer *t, size_t l, const sp_lora_options *lora,
                              sp_params *params, const char *prefix, uint32_t first_module) {
    const sp_model_config *config = &t->weights->config;
    sp_layer *layer = &t->layers[l];
    *layer = (sp_layer){.config = config, .rope = &t->rope};
    const bool is_full = t->training == SP_TRAIN_FULL;
    const sp_layer_weights *weights = is_full ? NULL : &t->weights->layers[l];
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        sp_adapted_linear *linear = &layer->linears[role];
        *linear = (sp_adapted_linear){.n_in = sp_role_n_in(role, config),
                                      .n_out = sp_role_n_out(role, config),
                                      .frozen = is_full ? NULL : weights->linears[role],
                                      .module = first_module + (uint32_t)(l * SP_N_ROLES + role)};
        if (is_full)
            SP_TRY(sp_params_declare(params, &linear->weight, linear->n_out, linear->n_in,
                                     "%smodel.layers.%zu.%s.weight", prefix, l,
                                     sp_roles[role].module));
        else if (t->training == SP_TRAIN_LORA && lora->targets[role])
            SP_TRY(declare_lora(linear, lora, params, prefix, l, role));
    }
    if (!is_full) {
        layer->attention_norm.frozen = weights->attention_norm;
        layer->ffn_norm.frozen = weights->ffn_norm;
        return SP_OK;
    }
    SP_TRY(sp_params_declare(params, &layer->attention_norm.trained, 0, config->d_model,
                             "%smodel.layers.%zu.input_layernorm.weight", prefix, l));
    return sp_params_declare(params, &layer->ffn_norm.trained, 0, config->d_model,
                             "%smodel.layers.%zu.post_attention_layernorm.weight", prefix, l);
}

static sp_status create_parts(sp_transformer *t, const sp_lora_options *lora, sp_params *params,
                              const char *prefix, uint32_t first_module) {
    const sp_model_config *config = &t->weights->config;
    t->embedding = (sp_embedding){.d_model = config->d_model};
    if (t->training == SP_TRAIN_FULL) {
        SP_TRY(sp_params_declare(params, &t->embedding.trained, config->vocab_size, config->d_model,
                                 "%smodel.embed_tokens.weight", prefix));
        SP_TRY(sp_params_declare(params, &t->final_norm.trained, 0, config->d_model,
                                 "%smodel.norm.weight", prefix));
    } else {
        t->embedding.frozen = &t->weights->embedding;
        t->final_norm.frozen = t->weights->final_norm;
    }
    t->layers = calloc(config->n_layers, sizeof *t->layers);
    if (t->layers == NULL) return sp_fail(SP_FAILURE, "no memory for layers");
    for (size_t l = 0; l < config->n_layers; l++)
        SP_TRY(create_layer(t, l, lora, params, prefix, first_module));
    return SP_OK;
}

sp_status sp_transformer_create(sp_transformer **transformer, const sp_weights *weights,
                                sp_training training, const sp_lora_options *lora,
                                sp_params *params, const char *prefix, uint32_t first_module) {
    sp_transformer *t = calloc(1, sizeof *t);
    if (t == NULL) return sp_fail(SP_FAILURE, "no memory for a model");
    t->weights = weights;
    t->training = training;
    const sp_status status = create_parts(t, lora, params, prefix, first_module);
    if (status != SP_OK)
        sp_transformer_destroy(t);
    else
        *transformer = t;
    return status;
}

static void init_lora(const sp_adapted_linear *linear, uint64_t seed) {
    /* Kaiming-uniform with a = sqrt(5), as PEFT: a bound of 1 / sqrt(n_in). */
    const float bound = 1 / sqrtf((float)linear->n_in);
    const sp_stream stream = sp_stream_of(seed, linear->lora_a->name);
    sp_stream_uniform(&stream, 0, linear->lora_a->value, linear->lora_a->n_values, -bound, bound);
}

/* The tensor's name is the parameter's, without the prefix. */
static sp_status read_param(const sp_param *param, const char *prefix_end,
                            const sp_tensor_table *tensors, const char *where) {
    const sp_tensor *tensor = NULL;
    const bool is_matrix = param->n_dims == 2;
    SP_TRY(sp_weights_find(&tensor, tensors, prefix_end, is_matrix ? param->shape[0] : 0,
                           param->shape[is_matrix ? 1 : 0], where));
    sp_tensor_read_rows(tensor, param->value, 0, is_matrix ? param->shape[0] : 1);
    return SP_OK;
}

static sp_status read_trained(const sp_param *param, const sp_tensor_table *tensors,
                              const char *where) {
    if (param == NULL) return SP_OK;
    return read_param(param, strstr(param->name, "model."), tensors, where);
}

sp_status sp_transformer_bind(sp_transformer *t, uint64_t seed, const sp_tensor_table *tensors,
                              const char *where) {
    SP_TRY(read_trained(t->embedding.trained, tensors, where));
    SP_TRY(read_trained(t->final_norm.trained, tensors, where));
    for (size_t l = 0; l < t->weights->config.n_layers; l++) {
        sp_layer *layer = &t->layers[l];
        SP_TRY(read_trained(layer->attention_norm.trained, tensors, where));
        SP_TRY(read_trained(layer->ffn_norm.trained, tensors, where));
        for (sp_role role = 0; role < SP_N_ROLES; role++) {
            sp_adapted_linear *linear = &layer->linears[role];
            SP_TRY(read_trained(linear->weight, tensors, where));
            if (linear->lora_a != NULL) init_lora(linear, seed);
            SP_TRY(sp_adapted_linear_bind(linear));
        }
    }
    return SP_OK;
}

sp_status sp_transformer_reserve(sp_transformer *t, size_t n_positions) {
    if (n_positions <= t->rope.n_positions) return SP_OK;
    const size_t half = t->weights->config.head_dim / 2;
    n_positions = (n_positions + 255) / 256 * 256; /* so that growing row by row stays cheap */
    void *tables = NULL;
    SP_TRY(sp_alloc_array(&tables, n_positions, 2 * half * sizeof(float), "rotary tables"));
    free(t->rope_tables);
    t->rope_tables = tables;
    float *cos = t->rope_tables, *sin = cos + n_positions * half;
    sp_rope_make_table(cos, sin, t->weights->inv_freq, 2 * half, n_positions);
    t->rope = (sp_rope){.cos = cos, .sin = sin, .head_dim = 2 * half, .n_positions = n_positions};
    return SP_OK;
}

void sp_transformer_destroy(sp_transformer *t) {
    if (t == NULL) return;
    for (size_t l = 0; t->layers != NULL && l < t->weights->config.n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            sp_adapted_linear_release(&t->layers[l].linears[role]);
    free(t->layers);
    free(t->rope_tables);
    free(t);
}
