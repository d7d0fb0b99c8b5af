#include "model/weights.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_SIZE = 128 };

sp_status sp_weights_find(const sp_tensor **tensor, const sp_tensor_table *tensors,
                          const char *name, size_t n_rows, size_t n_cols, const char *where) {
    const sp_tensor *found = sp_tensor_table_find(tensors, name);
    if (found == NULL) return sp_fail(SP_BAD_DATA, "'%s': no tensor '%s'", where, name);
    const bool is_matrix = found->n_dims == 2;
    const size_t rows = is_matrix ? found->shape[0] : 0;
    const size_t cols = found->n_dims > 0 ? found->shape[found->n_dims - 1] : 0;
    if (found->n_dims > 2 || rows != n_rows || cols != n_cols)
        return sp_fail(SP_BAD_DATA, "'%s': tensor '%s' is %zu x %zu, its config says %zu x %zu",
                       where, name, rows, cols, n_rows, n_cols);
    *tensor = found;
    return SP_OK;
}

static sp_status load_vector(float **out, const sp_tensor_table *tensors, const char *name,
                             size_t n, const char *where) {
    const sp_tensor *tensor = NULL;
    void *values = NULL;
    SP_TRY(sp_weights_find(&tensor, tensors, name, 0, n, where));
    SP_TRY(sp_alloc_array(&values, n, sizeof(float), name));
    sp_tensor_read_rows(tensor, values, 0, 1);
    *out = values;
    return SP_OK;
}

static sp_status load_layer(sp_layer_weights *layer, size_t l, const sp_model_config *config,
                            const sp_tensor_table *tensors, sp_precision precision,
                            const char *where) {
    char name[NAME_SIZE];
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        const sp_tensor *tensor = NULL;
        snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, sp_roles[role].module);
        SP_TRY(sp_weights_find(&tensor, tensors, name, sp_role_n_out(role, config),
                               sp_role_n_in(role, config), where));
        SP_TRY(sp_linear_create(&layer->linears[role], tensor, NULL, precision));
    }
    snprintf(name, sizeof name, "model.layers.%zu.input_layernorm.weight", l);
    SP_TRY(load_vector(&layer->attention_norm, tensors, name, config->d_model, where));
    snprintf(name, sizeof name, "model.layers.%zu.post_attention_layernorm.weight", l);
    return load_vector(&layer->ffn_norm, tensors, name, config->d_model, where);
}

static sp_status load_body(sp_weights *weights, const sp_tensor_table *tensors,
                           sp_precision precision, const char *where) {
    const sp_model_config *config = &weights->config;
    weights->layers = calloc(config->n_layers, sizeof *weights->layers);
    if (weights->layers == NULL) return sp_fail(SP_FAILURE, "no memory for layers");
    for (size_t l = 0; l < config->n_layers; l++)
        SP_TRY(load_layer(&weights->layers[l], l, config, tensors, precision, where));
    return load_vector(&weights->final_norm, tensors, "model.norm.weight", config->d_model, where);
}

static sp_status load_head(sp_weights *weights, const sp_tensor_table *tensors,
                           sp_precision precision, const char *where) {
    const sp_model_config *config = &weights->config;
    const sp_tensor *head = &weights->embedding;
    if (!config->tie_word_embeddings)
        SP_TRY(sp_weights_find(&head, tensors, "lm_head.weight", config->vocab_size,
                               config->d_model, where));
    return sp_linear_create(&weights->head, head, NULL, precision);
}

/* GGUF files of Llama 3.1 and later carry llama3's scaling as divisors of the frequencies. */
static sp_status load_frequencies(sp_weights *weights, const sp_tensor_table *tensors,
                                  const char *where) {
    const sp_model_config *config = &weights->config;
    const size_t n = config->head_dim / 2;
    void *values = NULL;
    SP_TRY(sp_alloc_array(&values, n, sizeof(float), "rotary frequencies"));
    weights->inv_freq = values;
    sp_rope_make_inv_freq(weights->inv_freq, config->head_dim, config->rope_theta,
                          config->has_rope_scaling ? &config->rope_scaling : NULL);
    if (sp_tensor_table_find(tensors, "rope_freqs.weight") == NULL) return SP_OK;
    float *divisors = NULL;
    SP_TRY(load_vector(&divisors, tensors, "rope_freqs.weight", n, where));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n; i++) {
        if (!(divisors[i] > 0) || isinf(divisors[i]))
            status = sp_fail(SP_BAD_DATA, "'%s': 'rope_freqs.weight' holds %g", where,
                             (double)divisors[i]);
        weights->inv_freq[i] /= divisors[i];
    }
    free(divisors);
    return status;
}

sp_status sp_weights_load(sp_weights *weights, const sp_tensor_table *tensors, const json_t *json,
                          sp_precision precision, sp_weights_part part, const char *where) {
    sp_weights made = {0};
    const sp_tensor *embedding = NULL;
    SP_TRY(sp_model_config_read(&made.config, json, where));
    sp_status status = sp_weights_find(&embedding, tensors, "model.embed_tokens.weight",
                                       made.config.vocab_size, made.config.d_model, where);
    if (status != SP_OK) goto cleanup;
    made.embedding = *embedding;
    status = load_frequencies(&made, tensors, where);
    if (status == SP_OK && part >= SP_WEIGHTS_BODY)
        status = load_body(&made, tensors, precision, where);
    if (status == SP_OK && part == SP_WEIGHTS_ALL)
        status = load_head(&made, tensors, precision, where);
    if (status != SP_OK) goto cleanup;
    *weights = made;
    made = (sp_weights){0};

cleanup:
    sp_weights_free(&made);
    return status;
}

void sp_weights_free(sp_weights *weights) {
    for (size_t l = 0; weights->layers != NULL && l < weights->config.n_layers; l++) {
        sp_layer_weights *layer = &weights->layers[l];
        for (sp_role role = 0; role < SP_N_ROLES; role++) sp_linear_destroy(layer->linears[role]);
        free(layer->attention_norm);
        free(layer->ffn_norm);
    }
    free(weights->layers);
    free(weights->final_norm);
    sp_linear_destroy(weights->head);
    free(weights->inv_freq);
    *weights = (sp_weights){0};
}
