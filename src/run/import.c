#include "run/import.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/run_lock.h"
#include "io/safetensors.h"
#include "run/adapter_config.h"
#include "run/models.h"
#include "run/pcc_config.h"
#include "run/train_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ENCODER[] = "encoder.", ADAPTER[] = "base_model.model.";
static const char MEMORY_TOKENS[] = "encoder.memory_tokens";
static const char ADAPTER_FILE[] = "adapter_model.safetensors", MODEL_FILE[] = "model.safetensors";

/* Tensors of one file or folder, and which of them have been taken. */
typedef struct source {
    char *path;                     /* owned, for messages */
    const sp_tensor_table *tensors; /* NULL: there is no such file */
    bool *taken;                    /* [tensors->n_entries], owned */
    sp_mapping mapping;             /* of a single file, with its table: */
    sp_tensor_table table;
} source;

typedef struct importing {
    const sp_run_config *config;
    const char *input;
    source pcc, adapter, encoder; /* encoder: the folder of a model */
    sp_model_source model;        /* whose tensors `encoder` views */
    sp_models models;
    bool has_memory; /* the memory tokens have been read */
    float *extra_a;  /* [rank, memory_tokens], owned: columns of the table's A beyond the model's */
    sp_run_lock lock; /* of the run's folder */
} importing;

/* ---- opening ---- */

static sp_status make_path(char **path, const char *folder, const char *name) {
    if (asprintf(path, "%s/%s", folder, name) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path");
}

static bool has_file(const char *folder, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) return false;
    const bool is_there = access(path, F_OK) == 0;
    free(path);
    return is_there;
}

static sp_status make_taken(source *from) {
    void *taken = NULL;
    SP_TRY(sp_alloc_array(&taken, from->tensors->n_entries, sizeof *from->taken, "tensors"));
    from->taken = taken;
    return SP_OK;
}

static sp_status open_file(source *from, const char *folder, const char *name) {
    size_t n_left_out = 0;
    SP_TRY(make_path(&from->path, folder, name));
    SP_TRY(sp_mapping_open(&from->mapping, from->path));
    SP_TRY(sp_safetensors_read(&from->table, &n_left_out, &from->mapping, from->path));
    if (sp_tensor_table_sort(&from->table) != SP_OK)
        return sp_fail(SP_BAD_DATA, "'%s': %s", from->path, sp_message());
    from->tensors = &from->table;
    return make_taken(from);
}

static void close_source(source *from) {
    sp_tensor_table_free(&from->table);
    sp_mapping_close(&from->mapping);
    free(from->taken);
    free(from->path);
}

static sp_status check_adapter_config(const importing *m) {
    char *path = NULL;
    json_t *object = NULL;
    SP_TRY(make_path(&path, m->input, "adapter_config.json"));
    sp_status status = sp_json_load_file(&object, path);
    if (status == SP_OK) status = sp_adapter_config_check(object, m->config, path);
    json_decref(object);
    free(path);
    return status;
}

/* Others' files, and older exports, have none. */
static sp_status check_pcc_config(const importing *m) {
    char *path = NULL;
    json_t *object = NULL;
    if (!has_file(m->input, "pcc_config.json")) return SP_OK;
    SP_TRY(make_path(&path, m->input, "pcc_config.json"));
    sp_status status = sp_json_load_file(&object, path);
    if (status == SP_OK) status = sp_pcc_config_check(object, m->config, path);
    json_decref(object);
    free(path);
    return status;
}

static sp_status open_encoder(importing *m) {
    const sp_encoder_train train = m->config->encoder.train;
    const bool has_adapter = has_file(m->input, ADAPTER_FILE);
    const bool has_model =
        has_file(m->input, MODEL_FILE) || has_file(m->input, "model.safetensors.index.json");
    if (train != SP_ENCODER_LORA && has_adapter)
        return sp_fail(SP_USAGE, "encoder.train: not lora, but '%s/%s' is there", m->input,
                       ADAPTER_FILE);
    if (train == SP_ENCODER_NONE && has_model)
        return sp_fail(SP_USAGE, "encoder.train: none, but '%s' holds an encoder", m->input);
    if (train == SP_ENCODER_LORA) {
        SP_TRY(check_adapter_config(m));
        return open_file(&m->adapter, m->input, ADAPTER_FILE);
    }
    if (train == SP_ENCODER_NONE) return SP_OK;
    SP_TRY(sp_model_source_open(&m->model, m->input));
    m->encoder.path = strdup(m->input);
    if (m->encoder.path == NULL) return sp_fail(SP_FAILURE, "no memory for a path");
    m->encoder.tensors = &m->model.tensors;
    return make_taken(&m->encoder);
}

/* ---- taking tensors ---- */

/* The tensor, which is then taken, or NULL. */
static const sp_tensor *take(source *from, const char *name) {
    const sp_tensor *tensor =
        from->tensors != NULL ? sp_tensor_table_find(from->tensors, name) : NULL;
    if (tensor == NULL) return NULL;
    for (size_t i = 0; i < from->tensors->n_entries; i++)
        if (&from->tensors->entries[i].tensor == tensor) from->taken[i] = true;
    return tensor;
}

/* "[3, 5]" */
static const char *shape_text(char text[64], const size_t *shape, size_t n_dims) {
    size_t len = (size_t)snprintf(text, 64, "[");
    for (size_t i = 0; i < n_dims && len < 64; i++)
        len += (size_t)snprintf(text + len, 64 - len, "%s%zu", i > 0 ? ", " : "", shape[i]);
    if (len < 64) snprintf(text + len, 64 - len, "]");
    return text;
}

static bool has_shape(const sp_tensor *tensor, const size_t *shape, size_t n_dims) {
    return tensor->n_dims == n_dims && memcmp(tensor->shape, shape, n_dims * sizeof *shape) == 0;
}

static sp_status wrong_shape(const source *from, const char *name, const sp_tensor *tensor,
                             const sp_param *param) {
    char has[64], wanted[64];
    return sp_fail(SP_BAD_DATA, "'%s': the tensor '%s' is %s, and %s is wanted", from->path, name,
                   shape_text(has, tensor->shape, tensor->n_dims),
                   shape_text(wanted, param->shape, param->n_dims));
}

/* The parameter of the encoder's table, or of its A, in a file whose table has the memory tokens at
   its end: that dimension is larger by their number. */
static bool is_wider_table(const importing *m, const sp_param *param, const sp_tensor *tensor,
                           size_t dim) {
    size_t wider[2] = {param->shape[0], param->shape[1]};
    if (m->models.compressor->is_of_chunks) return false;
    wider[dim] += m->config->encoder.memory_tokens;
    return param->n_dims == 2 && has_shape(tensor, wider, 2);
}

/* Memory tokens from the end of a table, unless pcc.safetensors has brought them. */
static void take_last_rows(importing *m, const sp_tensor *table) {
    sp_param *memory = m->models.compressor->memory_tokens;
    if (m->has_memory || memory == NULL) return;
    sp_tensor_read_rows(table, memory->value, table->shape[0] - memory->shape[0], memory->shape[0]);
    m->has_memory = true;
}

/* A [rank, V + memory_tokens]: the first V columns of each row are the parameter's. */
static sp_status split_a(importing *m, const sp_param *param, const sp_tensor *a) {
    const size_t rank = param->shape[0], n_vocab = param->shape[1], n = a->shape[1];
    const size_t n_memory = n - n_vocab;
    void *row = NULL, *extra = NULL;
    SP_TRY(sp_alloc_array(&extra, rank, n_memory * sizeof(float), "columns of A"));
    m->extra_a = extra;
    SP_TRY(sp_alloc_array(&row, n, sizeof(float), "a row of A"));
    const float *values = row;
    for (size_t r = 0; r < rank; r++) {
        sp_tensor_read_rows(a, row, r, 1);
        memcpy(param->value + r * n_vocab, values, n_vocab * sizeof *values);
        memcpy(m->extra_a + r * n_memory, values + n_vocab, n_memory * sizeof *values);
    }
    free(row);
    return SP_OK;
}

static sp_status fill(importing *m, const source *from, const sp_param *param, const char *name,
                      const sp_tensor *tensor) {
    const sp_transformer *encoder = m->models.compressor->encoder;
    const size_t n_rows = param->n_dims == 2 ? param->shape[0] : 1;
    if (has_shape(tensor, param->shape, param->n_dims)) {
        sp_tensor_read_rows(tensor, param->value, 0, n_rows);
        return SP_OK;
    }
    if (param == encoder->embedding.trained && is_wider_table(m, param, tensor, 0)) {
        sp_tensor_read_rows(tensor, param->value, 0, n_rows);
        take_last_rows(m, tensor);
        return SP_OK;
    }
    if (param == encoder->embedding.lora_a && is_wider_table(m, param, tensor, 1))
        return split_a(m, param, tensor);
    if (param == m->models.compressor->memory_tokens && tensor->n_dims == 2 &&
        tensor->shape[1] == param->shape[1])
        return sp_fail(SP_USAGE, "encoder.memory_tokens: %zu, but '%s' has %zu", param->shape[0],
                       from->path, tensor->shape[0]);
    if (param == m->models.compressor->merger.weight && tensor->n_dims == 2 &&
        tensor->shape[0] == param->shape[0] && tensor->shape[1] % tensor->shape[0] == 0)
        return sp_fail(SP_USAGE, "encoder.merged_tokens: %zu, but '%s' has %zu",
                       param->shape[1] / param->shape[0], from->path,
                       tensor->shape[1] / tensor->shape[0]);
    return wrong_shape(from, name, tensor, param);
}

static sp_status missing(const importing *m, const source *from, const char *name) {
    if (from == &m->adapter)
        return sp_fail(SP_USAGE, "encoder.lora.targets: '%s' has no '%s', which they ask for",
                       from->path, name);
    return sp_fail(SP_BAD_DATA, "'%s': no tensor '%s'", from->path, name);
}

/* Reads a parameter from the file that has those of its kind. */
static sp_status read_param(importing *m, const sp_param *param) {
    const bool is_memory = strcmp(param->name, MEMORY_TOKENS) == 0;
    const bool is_merger = param == m->models.compressor->merger.weight;
    const bool is_encoder = strncmp(param->name, ENCODER, strlen(ENCODER)) == 0;
    const char *name = param->name + (is_encoder ? strlen(ENCODER) : 0);
    source *from = &m->pcc;
    if (is_encoder && !is_memory && !is_merger)
        from = strncmp(name, ADAPTER, strlen(ADAPTER)) == 0 ? &m->adapter : &m->encoder;
    const sp_tensor *tensor = take(from, name);
    if (tensor == NULL) return is_memory ? SP_OK : missing(m, from, name); /* may come later */
    SP_TRY(fill(m, from, param, name, tensor));
    m->has_memory = m->has_memory || is_memory;
    return SP_OK;
}

/* ---- what is more than parameters ---- */

/* A copy of the base model's table or head beside an adapter. The table may end in the memory
   tokens. */
static bool is_base_copy(importing *m, const char *name, const sp_tensor *tensor) {
    const sp_model_config *config = &m->models.encoder_weights->config;
    const size_t wider[] = {config->vocab_size + m->config->encoder.memory_tokens, config->d_model};
    const char *modules[] = {config->family->embedding, "lm_head"};
    static const char *const endings[] = {".base_layer.weight", ".weight"};
    if (strncmp(name, ADAPTER, strlen(ADAPTER)) != 0) return false;
    name += strlen(ADAPTER);
    for (size_t i = 0; i < 2; i++) {
        const size_t len = strlen(modules[i]);
        if (strncmp(name, modules[i], len) != 0) continue;
        for (size_t j = 0; j < 2; j++)
            if (strcmp(name + len, endings[j]) == 0) {
                if (i == 0 && has_shape(tensor, wider, 2)) take_last_rows(m, tensor);
                return true;
            }
    }
    return false;
}

static bool is_of_head(const char *name) {
    return strcmp(name, "lm_head.weight") == 0 ||
           strncmp(name, "base_model.model.lm_head.lora_", 30) == 0;
}

static sp_status check_leftovers(importing *m, source *from) {
    for (size_t i = 0; from->tensors != NULL && i < from->tensors->n_entries; i++) {
        const sp_named_tensor *named = &from->tensors->entries[i];
        if (from->taken[i]) continue;
        if (from != &m->pcc && is_of_head(named->name)) {
            sp_log(SP_LOG_INFO, "'%s' is left out: memory does not pass the head", named->name);
        } else if (from == &m->adapter && is_base_copy(m, named->name, &named->tensor)) {
            sp_log(SP_LOG_INFO, "'%s' is left out: the base model has it", named->name);
        } else if (from == &m->adapter) {
            return sp_fail(SP_USAGE, "encoder.lora.targets: none of them covers '%s' of '%s'",
                           named->name, from->path);
        } else {
            return sp_fail(SP_BAD_DATA, "'%s': the tensor '%s' is no part of this compressor",
                           from->path, named->name);
        }
    }
    return SP_OK;
}

/* row + (alpha / rank) B A[:, id] */
static void fold(const importing *m) {
    const sp_embedding *embedding = &m->models.compressor->encoder->embedding;
    sp_param *memory = m->models.compressor->memory_tokens;
    const size_t n = memory->shape[0], d = memory->shape[1];
    const size_t rank = embedding->lora_b->shape[1];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++) {
            double sum = 0;
            for (size_t r = 0; r < rank; r++)
                sum +=
                    (double)embedding->lora_b->value[j * rank + r] * (double)m->extra_a[r * n + i];
            memory->value[i * d + j] += embedding->lora_scale * (float)sum;
        }
}

static sp_status check_values(const importing *m) {
    const sp_params *params = &m->models.compressor->params;
    for (size_t i = 0; i < params->n_entries; i++)
        for (size_t j = 0; j < params->entries[i]->n_values; j++)
            if (!isfinite(params->entries[i]->value[j]))
                return sp_fail(SP_BAD_DATA, "'%s': '%s' has a value that is not finite", m->input,
                               params->entries[i]->name);
    return SP_OK;
}

static sp_status read_all(importing *m) {
    SP_TRY(open_file(&m->pcc, m->input, "pcc.safetensors"));
    SP_TRY(check_pcc_config(m));
    SP_TRY(open_encoder(m));
    SP_TRY(sp_models_open(&m->models, m->config, SP_SIDES_BOTH, NULL));
    /* Memory tokens first: those of pcc.safetensors go before a table's last rows. */
    const sp_param *memory = m->models.compressor->memory_tokens;
    if (memory == NULL && sp_tensor_table_find(m->pcc.tensors, "memory_tokens") != NULL)
        return sp_fail(SP_USAGE, "encoder.memory: not tokens, but '%s' has memory tokens",
                       m->pcc.path);
    if (memory != NULL) SP_TRY(read_param(m, memory));
    const sp_params *params = &m->models.compressor->params;
    for (size_t i = 0; i < params->n_entries; i++)
        if (params->entries[i] != memory) SP_TRY(read_param(m, params->entries[i]));
    SP_TRY(check_leftovers(m, &m->pcc));
    SP_TRY(check_leftovers(m, &m->adapter));
    SP_TRY(check_leftovers(m, &m->encoder));
    if (memory != NULL && !m->has_memory) return missing(m, &m->pcc, "memory_tokens");
    if (m->extra_a != NULL) fold(m);
    return check_values(m);
}

/* ---- writing ---- */

static sp_status check_run(const sp_run_config *config) {
    char *found = NULL;
    SP_TRY(sp_checkpoint_find(config->run.dir, &found));
    sp_status status = SP_OK;
    if (found != NULL)
        status = sp_fail(SP_USAGE, "run.dir: '%s' is there already; an import begins a run", found);
    free(found);
    return status;
}

/* Step 0 of a run: moments are 0. */
static sp_status save(importing *m) {
    const sp_params *params = &m->models.compressor->params;
    const sp_train_state about = {.config = m->config};
    void *zeros = NULL;
    SP_TRY(sp_make_folders(m->config->run.dir));
    SP_TRY(sp_run_lock_acquire(&m->lock, m->config->run.dir));
    SP_TRY(check_run(m->config));
    SP_TRY(sp_alloc_array(&zeros, params->n_values, sizeof(float), "moments"));
    const sp_status status = sp_train_state_save(&about, params, zeros, zeros);
    free(zeros);
    return status;
}

static sp_status make_result(json_t **result, const importing *m) {
    char *path = NULL;
    SP_TRY(sp_checkpoint_find(m->config->run.dir, &path));
    *result = json_pack("{s:s*, s:I}", "checkpoint", path, "parameters",
                        (json_int_t)m->models.compressor->params.n_values);
    free(path);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

sp_status sp_import(json_t **result, const sp_run_config *config, const char *input) {
    importing m = {.config = config, .input = input};
    sp_status status = check_run(config);
    if (status == SP_OK) status = read_all(&m);
    if (status == SP_OK) status = save(&m);
    if (status == SP_OK) status = make_result(result, &m);
    sp_run_lock_release(&m.lock);
    free(m.extra_a);
    sp_models_close(&m.models);
    close_source(&m.encoder);
    close_source(&m.adapter);
    close_source(&m.pcc);
    sp_model_source_close(&m.model);
    return status;
}
