#include "model/transformer.h"

#include "base/memory.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the declarations of one model share. */
typedef struct declaring {
    sp_transformer *t;
    const sp_transformer_options *options;
    sp_params *params;
} declaring;

enum { NAME_SIZE = 128 };

/* Does one of the roles whose matrix stands at `role` get an adapter? */
static bool is_target(const sp_lora_options *lora, const sp_family *family, sp_role role) {
    for (sp_role part = 0; part < SP_N_ROLES; part++)
        if (family->matrix_of[part] == role && lora->targets[part]) return true;
    return false;
}

/* `module` is the matrix's name. */
static sp_status declare_lora(const declaring *d, sp_adapted_linear *linear, const char *module) {
    const sp_lora_options *lora = d->options->lora;
    SP_TRY(sp_params_declare(d->params, &linear->lora_a, lora->rank, linear->n_in,
                             "%sbase_model.model.%s.lora_A.weight", d->options->prefix, module));
    SP_TRY(sp_params_declare(d->params, &linear->lora_b, linear->n_out, lora->rank,
                             "%sbase_model.model.%s.lora_B.weight", d->options->prefix, module));
    linear->lora_scale = (float)(lora->alpha / (double)lora->rank);
    linear->lora_dropout = (float)lora->dropout;
    return SP_OK;
}

static sp_status create_matrix(const declaring *d, size_t l, sp_role role) {
    const sp_model_config *config = &d->t->weights->config;
    const sp_family *family = config->family;
    const bool is_full = d->t->training == SP_TRAIN_FULL;
    sp_adapted_linear *linear = &d->t->layers[l].linears[role];
    char module[NAME_SIZE];
    snprintf(module, sizeof module, "%s.%zu.%s", family->layers, l, family->modules[role]);
    *linear =
        (sp_adapted_linear){.n_in = sp_matrix_n_in(config, role),
                            .n_out = sp_matrix_n_out(config, role),
                            .frozen = is_full ? NULL : d->t->weights->layers[l].linears[role],
                            .module = d->options->first_module + (uint32_t)(l * SP_N_ROLES + role)};
    if (d->t->training == SP_TRAIN_LORA && is_target(d->options->lora, family, role))
        return declare_lora(d, linear, module);
    if (!is_full) return SP_OK;
    SP_TRY(sp_params_declare(d->params, &linear->weight, linear->n_out, linear->n_in, "%s%s.weight",
                             d->options->prefix, module));
    if (!config->has_bias[role]) return SP_OK;
    return sp_params_declare(d->params, &linear->bias, 0, linear->n_out, "%s%s.bias",
                             d->options->prefix, module);
}

static sp_status create_norm(const declaring *d, sp_norm *norm, const sp_norm_weights *weights,
                             const char *name) {
    const sp_model_config *config = &d->t->weights->config;
    if (d->t->training != SP_TRAIN_FULL) {
        *norm = (sp_norm){.frozen = weights->weight, .frozen_bias = weights->bias};
        return SP_OK;
    }
    SP_TRY(sp_params_declare(d->params, &norm->trained, 0, config->d_model, "%s%s.weight",
                             d->options->prefix, name));
    if (!config->family->has_layernorm) return SP_OK;
    return sp_params_declare(d->params, &norm->trained_bias, 0, config->d_model, "%s%s.bias",
                             d->options->prefix, name);
}

static sp_status create_layer(const declaring *d, size_t l) {
    const sp_model_config *config = &d->t->weights->config;
    const sp_family *family = config->family;
    const sp_layer_weights *weights =
        d->t->weights->layers != NULL ? &d->t->weights->layers[l] : NULL;
    sp_layer *layer = &d->t->layers[l];
    char name[NAME_SIZE];
    *layer = (sp_layer){.config = config,
                        .rope = &d->t->rope,
                        .window = config->has_window[l] ? config->window : 0};
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        if (sp_matrix_n_out(config, role) > 0) SP_TRY(create_matrix(d, l, role));
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->attention_norm);
    SP_TRY(create_norm(d, &layer->attention_norm, weights != NULL ? &weights->attention_norm : NULL,
                       name));
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->ffn_norm);
    return create_norm(d, &layer->ffn_norm, weights != NULL ? &weights->ffn_norm : NULL, name);
}

static sp_status create_trained_tables(const declaring *d, sp_embedding *embedding) {
    const sp_model_config *config = &d->t->weights->config;
    const sp_family *family = config->family;
    const char *prefix = d->options->prefix;
    SP_TRY(sp_params_declare(d->params, &embedding->trained, config->vocab_size, config->d_model,
                             "%s%s.weight", prefix, family->embedding));
    if (!family->has_learned_positions) return SP_OK;
    return sp_params_declare(d->params, &embedding->trained_positions, config->max_positions,
                             config->d_model, "%s%s.weight", prefix, family->positions);
}

static sp_status create_frozen_tables(const declaring *d, sp_embedding *embedding) {
    const sp_model_config *config = &d->t->weights->config;
    const sp_family *family = config->family;
    const sp_lora_options *lora = d->options->lora;
    embedding->frozen = &d->t->weights->embedding;
    if (family->has_learned_positions) embedding->frozen_positions = &d->t->weights->positions;
    if (d->t->training != SP_TRAIN_LORA || !lora->targets_embedding) return SP_OK;
    SP_TRY(sp_params_declare(d->params, &embedding->lora_a, lora->rank, config->vocab_size,
                             "%sbase_model.model.%s.lora_embedding_A", d->options->prefix,
                             family->embedding));
    embedding->lora_scale = (float)(lora->alpha / (double)lora->rank);
    return sp_params_declare(d->params, &embedding->lora_b, config->d_model, lora->rank,
                             "%sbase_model.model.%s.lora_embedding_B", d->options->prefix,
                             family->embedding);
}

static sp_status create_embedding(const declaring *d) {
    const sp_model_config *config = &d->t->weights->config;
    sp_embedding *embedding = &d->t->embedding;
    *embedding = (sp_embedding){.d_model = config->d_model};
    SP_TRY(d->t->training == SP_TRAIN_FULL ? create_trained_tables(d, embedding)
                                           : create_frozen_tables(d, embedding));
    if (d->options->n_special == 0) return SP_OK;
    return sp_params_declare(d->params, &embedding->special, d->options->n_special, config->d_model,
                             "%s", d->options->special_name);
}

static sp_status create_blocks(const declaring *d) {
    sp_transformer *t = d->t;
    const sp_model_config *config = &t->weights->config;
    const size_t n_layers = config->n_layers;
    t->layers = calloc(n_layers, sizeof *t->layers);
    t->has_block = calloc(n_layers + 2, sizeof *t->has_block);
    if (t->layers == NULL || t->has_block == NULL)
        return sp_fail(SP_FAILURE, "no memory for layers");
    for (size_t b = 0; b < n_layers + 2; b++) {
        SP_TRY(sp_params_begin_group(d->params));
        t->has_block[b] = d->options->has_block == NULL || d->options->has_block[b];
        if (!t->has_block[b]) continue;
        if (b == 0)
            SP_TRY(create_embedding(d));
        else if (b <= n_layers)
            SP_TRY(create_layer(d, b - 1));
        else
            SP_TRY(create_norm(d, &t->final_norm, &t->weights->final_norm,
                               config->family->final_norm));
    }
    return SP_OK;
}

sp_status sp_transformer_create(sp_transformer **transformer, const sp_weights *weights,
                                const sp_transformer_options *options, sp_params *params) {
    sp_transformer *t = calloc(1, sizeof *t);
    if (t == NULL) return sp_fail(SP_FAILURE, "no memory for a model");
    t->weights = weights;
    t->training = options->training;
    t->name_begin = strlen(options->prefix);
    const declaring d = {t, options, params};
    const sp_status status = create_blocks(&d);
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

/* The other way round than a linear layer's: A zero, B normal. */
static void init_embedding_lora(const sp_embedding *embedding, uint64_t seed) {
    const sp_param *b = embedding->lora_b;
    const sp_stream stream = sp_stream_of(seed, b->name);
    sp_stream_normal(&stream, 0, b->value, b->n_values, 0, 1);
}

/* Where a model's first values come from. */
typedef struct binding {
    const sp_transformer *t;
    const sp_tensor_table *tensors;
    const char *where;
} binding;

static sp_status read_trained(const binding *from, const sp_param *param) {
    if (param == NULL) return SP_OK;
    const sp_tensor *tensor = NULL;
    const bool is_matrix = param->n_dims == 2;
    SP_TRY(sp_weights_find(&tensor, from->tensors, param->name + from->t->name_begin,
                           is_matrix ? param->shape[0] : 0, param->shape[is_matrix ? 1 : 0],
                           from->where));
    sp_tensor_read_rows(tensor, param->value, 0, is_matrix ? param->shape[0] : 1);
    return SP_OK;
}

static sp_status read_norm(const binding *from, const sp_norm *norm) {
    SP_TRY(read_trained(from, norm->trained));
    return read_trained(from, norm->trained_bias);
}

static sp_status bind_matrix(const binding *from, sp_adapted_linear *linear, uint64_t seed) {
    SP_TRY(read_trained(from, linear->weight));
    SP_TRY(read_trained(from, linear->bias));
    if (linear->lora_a != NULL) init_lora(linear, seed);
    return sp_adapted_linear_bind(linear);
}

sp_status sp_transformer_bind(sp_transformer *t, uint64_t seed, const sp_tensor_table *tensors,
                              const char *where) {
    const binding from = {t, tensors, where};
    SP_TRY(read_trained(&from, t->embedding.trained));
    SP_TRY(read_trained(&from, t->embedding.trained_positions));
    if (t->embedding.lora_b != NULL) init_embedding_lora(&t->embedding, seed);
    SP_TRY(read_norm(&from, &t->final_norm));
    for (size_t l = 0; l < t->weights->config.n_layers; l++) {
        sp_layer *layer = &t->layers[l];
        SP_TRY(read_norm(&from, &layer->attention_norm));
        SP_TRY(read_norm(&from, &layer->ffn_norm));
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            SP_TRY(bind_matrix(&from, &layer->linears[role], seed));
    }
    return SP_OK;
}

sp_status sp_transformer_outline(sp_transformer *t) {
    for (size_t l = 0; l < t->weights->config.n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            SP_TRY(sp_adapted_linear_bind(&t->layers[l].linears[role]));
    return SP_OK;
}

sp_status sp_transformer_reserve(sp_transformer *t, size_t n_positions) {
    const sp_model_config *config = &t->weights->config;
    if (config->family->has_learned_positions) {
        if (n_positions <= config->max_positions) return SP_OK;
        return sp_fail(SP_BAD_DATA, "%zu positions in a sequence; the model has learned %zu",
                       n_positions, config->max_positions);
    }
    const size_t n_sets = sp_longrope_switch(config) > 0 ? 2 : 1, half = config->rotary_dim / 2;
    if (n_positions * n_sets <= t->rope.n_rows) return SP_OK;
    if (n_positions > UINT32_MAX / 4)
        return sp_fail(SP_BAD_DATA, "%zu positions in a sequence", n_positions);
    n_positions = (n_positions + 255) / 256 * 256; /* so that growing row by row stays cheap */
    const size_t n_rows = n_positions * n_sets;
    void *tables = NULL;
    SP_TRY(sp_alloc_array(&tables, n_rows, 2 * half * sizeof(float), "rotary tables"));
    free(t->rope_tables);
    t->rope_tables = tables;
    float *cos = t->rope_tables, *sin = cos + n_rows * half;
    for (size_t i = 0; i < n_sets; i++)
        sp_rope_make_table(cos + i * half, sin + i * half, t->weights->inv_freq + i * half,
                           config->rotary_dim, config->rope_scaling.attention_factor, n_positions,
                           n_sets);
    t->rope = (sp_rope){.cos = cos,
                        .sin = sin,
                        .head_dim = config->head_dim,
                        .rotary_dim = config->rotary_dim,
                        .n_rows = n_rows};
    return SP_OK;
}

/* The end of the family, a parent and its children, that begins with sequence `first`, and the
   length of its longest branch. */
static size_t family_end(const sp_rows *rows, size_t first, size_t *longest) {
    const size_t parent_len = rows->seqs[first].len;
    size_t end = first + 1;
    *longest = parent_len;
    for (; end < rows->n_seqs && rows->seqs[end].parent >= 0; end++)
        if (parent_len + rows->seqs[end].len > *longest)
            *longest = parent_len + rows->seqs[end].len;
    return end;
}

sp_status sp_transformer_prepare(sp_transformer *t, sp_rows *rows) {
    const size_t longrope_switch = sp_longrope_switch(&t->weights->config);
    size_t n_positions = 0;
    for (size_t first = 0, end; first < rows->n_seqs; first = end) {
        size_t longest = 0;
        end = family_end(rows, first, &longest);
        if (longest > n_positions) n_positions = longest;
        const bool is_long = longest > longrope_switch;
        const size_t end_row = rows->seqs[end - 1].begin + rows->seqs[end - 1].len;
        for (size_t r = rows->seqs[first].begin; r < end_row; r++)
            rows->rope_rows[r] = sp_transformer_rope_row(t, rows->positions[r], is_long);
    }
    return sp_transformer_reserve(t, n_positions);
}

void sp_transformer_destroy(sp_transformer *t) {
    if (t == NULL) return;
    for (size_t l = 0; t->layers != NULL && l < t->weights->config.n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            sp_adapted_linear_release(&t->layers[l].linears[role]);
    free(t->has_block);
    free(t->layers);
    free(t->rope_tables);
    free(t);
}
