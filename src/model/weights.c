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

/* `name` is without ".weight" and ".bias". */
static sp_status load_norm(sp_norm_weights *norm, const sp_model_config *config,
                           const sp_tensor_table *tensors, const char *name, const char *where) {
    char full[NAME_SIZE];
    snprintf(full, sizeof full, "%s.weight", name);
    SP_TRY(load_vector(&norm->weight, tensors, full, config->d_model, where));
    if (!config->family->has_layernorm) return SP_OK;
    snprintf(full, sizeof full, "%s.bias", name);
    return load_vector(&norm->bias, tensors, full, config->d_model, where);
}

/* What the load of one model shares. */
typedef struct loading {
    const sp_tensor_table *tensors;
    sp_precision precision;
    const char *where;
} loading;

static sp_status load_matrix(sp_linear **linear, size_t l, sp_role role,
                             const sp_model_config *config, const loading *from) {
    const sp_family *family = config->family;
    const sp_tensor *weight = NULL, *bias = NULL;
    const size_t n_out = sp_matrix_n_out(config, role);
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.%zu.%s.weight", family->layers, l, family->modules[role]);
    SP_TRY(sp_weights_find(&weight, from->tensors, name, n_out, sp_matrix_n_in(config, role),
                           from->where));
    if (config->has_bias[role]) {
        snprintf(name, sizeof name, "%s.%zu.%s.bias", family->layers, l, family->modules[role]);
        SP_TRY(sp_weights_find(&bias, from->tensors, name, 0, n_out, from->where));
    }
    return sp_linear_create(linear, weight, bias, from->precision);
}

static sp_status load_layer(sp_layer_weights *layer, size_t l, const sp_model_config *config,
                            const loading *from) {
    const sp_family *family = config->family;
    char name[NAME_SIZE];
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        if (sp_matrix_n_out(config, role) > 0)
            SP_TRY(load_matrix(&layer->linears[role], l, role, config, from));
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->attention_norm);
    SP_TRY(load_norm(&layer->attention_norm, config, from->tensors, name, from->where));
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->ffn_norm);
    return load_norm(&layer->ffn_norm, config, from->tensors, name, from->where);
}

static sp_status allocate_layers(sp_weights *weights) {
    weights->layers = calloc(weights->config.n_layers, sizeof *weights->layers);
    return weights->layers != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for layers");
}

static sp_status load_layers(sp_weights *weights, const bool *which, const loading *from) {
    SP_TRY(allocate_layers(weights));
    for (size_t l = 0; l < weights->config.n_layers; l++)
        if (which == NULL || which[l])
            SP_TRY(load_layer(&weights->layers[l], l, &weights->config, from));
    return SP_OK;
}

sp_precision sp_head_precision(sp_precision precision) {
    return precision == SP_PRECISION_INT8 ? SP_PRECISION_BF16 : precision;
}

static sp_status load_head(sp_weights *weights, const loading *from) {
    sp_model_config *config = &weights->config;
    const sp_tensor *head = &weights->embedding;
    if (config->may_tie_word_embeddings &&
        sp_tensor_table_find(from->tensors, "lm_head.weight") == NULL)
        config->tie_word_embeddings = true;
    if (!config->tie_word_embeddings)
        SP_TRY(sp_weights_find(&head, from->tensors, "lm_head.weight", config->vocab_size,
                               config->d_model, from->where));
    return sp_linear_create(&weights->head, head, NULL, sp_head_precision(from->precision));
}

static sp_status load_part(sp_weights *weights, const sp_weights_part *part, const loading *from) {
    const sp_model_config *config = &weights->config;
    if (part->layers) SP_TRY(load_layers(weights, part->which_layers, from));
    if (part->final_norm)
        SP_TRY(load_norm(&weights->final_norm, config, from->tensors, config->family->final_norm,
                         from->where));
    return part->head ? load_head(weights, from) : SP_OK;
}

/* GGUF files of Llama 3.1 and later carry llama3's scaling as divisors of the frequencies. */
static sp_status divide_frequencies(sp_weights *weights, const loading *from) {
    const size_t n = weights->config.rotary_dim / 2;
    float *divisors = NULL;
    if (n == 0 || sp_tensor_table_find(from->tensors, "rope_freqs.weight") == NULL) return SP_OK;
    SP_TRY(load_vector(&divisors, from->tensors, "rope_freqs.weight", n, from->where));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n; i++) {
        if (!(divisors[i] > 0) || isinf(divisors[i]))
            status = sp_fail(SP_BAD_DATA, "'%s': 'rope_freqs.weight' holds %g", from->where,
                             (double)divisors[i]);
        weights->inv_freq[i] /= divisors[i];
        weights->inv_freq[n + i] /= divisors[i];
    }
    free(divisors);
    return status;
}

static sp_status load_frequencies(sp_weights *weights, const loading *from) {
    const sp_model_config *config = &weights->config;
    const size_t n = config->rotary_dim / 2;
    void *values = NULL;
    SP_TRY(sp_alloc_array(&values, 2 * n, sizeof(float), "rotary frequencies"));
    weights->inv_freq = values;
    for (int is_long = 0; is_long < 2; is_long++)
        sp_rope_make_inv_freq(weights->inv_freq + (is_long ? n : 0), config->rotary_dim,
                              config->rope_theta, &config->rope_scaling, is_long);
    return divide_frequencies(weights, from);
}

static sp_status load_tables(sp_weights *weights, const loading *from) {
    const sp_model_config *config = &weights->config;
    const sp_family *family = config->family;
    const sp_tensor *table = NULL;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.weight", family->embedding);
    SP_TRY(sp_weights_find(&table, from->tensors, name, config->vocab_size, config->d_model,
                           from->where));
    weights->embedding = *table;
    if (!family->has_learned_positions) return load_frequencies(weights, from);
    snprintf(name, sizeof name, "%s.weight", family->positions);
    SP_TRY(sp_weights_find(&table, from->tensors, name, config->max_positions, config->d_model,
                           from->where));
    weights->positions = *table;
    return SP_OK;
}

sp_status sp_weights_load(sp_weights *weights, const sp_tensor_table *tensors, const json_t *json,
                          sp_precision precision, sp_weights_part part, const char *where) {
    const loading from = {.tensors = tensors, .precision = precision, .where = where};
    sp_weights made = {.precision = precision};
    sp_status status = sp_model_config_read(&made.config, json, where);
    if (status == SP_OK) status = load_tables(&made, &from);
    if (status == SP_OK) status = load_part(&made, &part, &from);
    if (status == SP_OK) {
        *weights = made;
        made = (sp_weights){0};
    }
    sp_weights_free(&made);
    return status;
}

static sp_status outline(sp_weights *weights, sp_precision precision) {
    const sp_model_config *config = &weights->config;
    SP_TRY(allocate_layers(weights));
    for (size_t l = 0; l < config->n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            if (sp_matrix_n_out(config, role) > 0)
                SP_TRY(sp_linear_outline(&weights->layers[l].linears[role],
                                         sp_matrix_n_out(config, role),
                                         sp_matrix_n_in(config, role), precision));
    return sp_linear_outline(&weights->head, config->vocab_size, config->d_model,
                             sp_head_precision(precision));
}

sp_status sp_weights_outline(sp_weights *weights, const sp_model_config *config,
                             sp_precision precision) {
    sp_weights made = {.config = *config, .precision = precision};
    const sp_status status = outline(&made, precision);
    if (status != SP_OK)
        sp_weights_free(&made);
    else
        *weights = made;
    return status;
}

static void free_norm(sp_norm_weights *norm) {
    free(norm->weight);
    free(norm->bias);
}

void sp_weights_free(sp_weights *weights) {
    for (size_t l = 0; weights->layers != NULL && l < weights->config.n_layers; l++) {
        sp_layer_weights *layer = &weights->layers[l];
        for (sp_role role = 0; role < SP_N_ROLES; role++) sp_linear_destroy(layer->linears[role]);
        free_norm(&layer->attention_norm);
        free_norm(&layer->ffn_norm);
    }
    free(weights->layers);
    free_norm(&weights->final_norm);
    sp_linear_destroy(weights->head);
    free(weights->inv_freq);
    *weights = (sp_weights){0};
}
