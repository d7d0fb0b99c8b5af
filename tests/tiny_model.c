#include "tests/tiny_model.h"

#include "tests/check.h"
#include "tests/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Where the next tensor goes. */
typedef struct maker {
    tiny_model *model;
    size_t used, capacity; /* values */
    uint32_t seed;
} maker;

/* A matrix [n_rows, n_cols], or a norm's vector if n_rows is 0. */
__attribute__((format(printf, 4, 5))) static void add(maker *m, size_t n_rows, size_t n_cols,
                                                      const char *format, ...) {
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);

    const size_t n = (n_rows > 0 ? n_rows : 1) * n_cols;
    float *values = m->model->values + m->used;
    m->used += n;
    assert_true(m->used <= m->capacity);
    fill_values(values, n, m->seed++);
    const float scale = sqrtf(3 / (float)n_cols); /* uniform in [-1, 1) has a variance of 1/3 */
    for (size_t i = 0; i < n; i++)
        values[i] = n_rows > 0 ? scale * values[i] : 1 + 0.3F * values[i];
    const sp_tensor tensor = {.dtype = SP_F32,
                              .n_dims = n_rows > 0 ? 2 : 1,
                              .shape = {n_rows > 0 ? n_rows : n_cols, n_rows > 0 ? n_cols : 0},
                              .data = values};
    assert_int_equal(sp_tensor_table_add(&m->model->tensors, name, &tensor), SP_OK);
}

/* A norm, with a bias where the family's has one; its name follows as for add(). */
static void add_norm(maker *m, const sp_model_config *c, const char *name) {
    add(m, 0, c->d_model, "%s.weight", name);
    if (c->family->has_layernorm) add(m, 0, c->d_model, "%s.bias", name);
}

static void add_layer(maker *m, const sp_model_config *c, size_t l) {
    const sp_family *family = c->family;
    char name[128];
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        const size_t n_out = sp_matrix_n_out(c, role);
        if (n_out == 0) continue;
        snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->modules[role]);
        add(m, n_out, sp_matrix_n_in(c, role), "%s.weight", name);
        if (c->has_bias[role]) add(m, 0, n_out, "%s.bias", name);
    }
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->attention_norm);
    add_norm(m, c, name);
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->ffn_norm);
    add_norm(m, c, name);
}

static json_t *make_config(const tiny_shape *s) {
    const char *model_type = s->family != NULL ? s->family : "llama";
    const sp_family *family = sp_family_find(model_type);
    assert_non_null(family);
    json_t *config =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:i, s:i, s:f}", "model_type",
                  model_type, family->keys.d_model, (json_int_t)s->d_model, family->keys.n_layers,
                  (json_int_t)s->n_layers, family->keys.n_heads, (json_int_t)s->n_heads,
                  "num_key_value_heads", (json_int_t)s->n_kv_heads, "head_dim",
                  (json_int_t)s->head_dim, family->keys.d_ffn, (json_int_t)s->d_ffn, "vocab_size",
                  (json_int_t)s->vocab_size, "tie_word_embeddings", s->is_tied, "bos_token_id", 1,
                  "eos_token_id", 2, family->keys.norm_eps, 1e-5);
    assert_non_null(config);
    if (s->options == NULL) return config;
    json_t *options = json_loads(s->options, 0, NULL);
    assert_non_null(options);
    assert_int_equal(json_object_update(config, options), 0);
    json_decref(options);
    return config;
}

static size_t count_values(const sp_model_config *c, bool is_tied) {
    const size_t n_positions = c->family->has_learned_positions ? c->max_positions : 0;
    size_t a_layer = 4 * c->d_model;
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        a_layer += sp_matrix_n_out(c, role) * (sp_matrix_n_in(c, role) + 1);
    return c->n_layers * a_layer +
           c->d_model * ((is_tied ? 1 : 2) * c->vocab_size + n_positions + 2);
}

void tiny_model_create(tiny_model *model, const tiny_shape *shape, uint32_t seed,
                       sp_weights_part part) {
    *model = (tiny_model){.config = make_config(shape)};
    assert_non_null(model->config);
    sp_model_config config;
    assert_int_equal(sp_model_config_read(&config, model->config, "tiny"), SP_OK);

    maker m = {.model = model, .seed = seed * 1000 + 1};
    m.capacity = count_values(&config, shape->is_tied);
    model->values = malloc(m.capacity * sizeof *model->values);
    assert_non_null(model->values);

    const sp_family *family = config.family;
    add(&m, config.vocab_size, config.d_model, "%s.weight", family->embedding);
    if (!shape->is_tied) add(&m, config.vocab_size, config.d_model, "lm_head.weight");
    if (family->has_learned_positions)
        add(&m, config.max_positions, config.d_model, "%s.weight", family->positions);
    add_norm(&m, &config, family->final_norm);
    for (size_t l = 0; l < config.n_layers; l++) add_layer(&m, &config, l);
    assert_int_equal(sp_tensor_table_sort(&model->tensors), SP_OK);
    if (sp_weights_load(&model->weights, &model->tensors, model->config, SP_PRECISION_F32, part,
                        "tiny") != SP_OK)
        fail_msg("%s", sp_message());
}

void tiny_model_release(tiny_model *model) {
    sp_weights_free(&model->weights);
    sp_tensor_table_free(&model->tensors);
    free(model->values);
    json_decref(model->config);
    *model = (tiny_model){0};
}
