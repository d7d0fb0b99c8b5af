#include "run/export_parts.h"

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/family_tensors.h"
#include "io/model_source.h"
#include "run/models.h"
#include "run/pcc_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ENCODER[] = "encoder.", ADAPTER[] = "base_model.";
/* What makes memory of the encoder's states is no part of its model. */
static const char MEMORY_TOKENS[] = "memory_tokens", MERGER[] = "merger.weight";

static bool begins_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* The exported name of a tensor, and its part; NULL for what is not exported. */
static const char *exported_name(const char *name, sp_export_part *part) {
    if (begins_with(name, "optimizer.")) return NULL;
    *part = SP_PART_PCC;
    if (!begins_with(name, ENCODER)) return name;
    name += strlen(ENCODER);
    if (begins_with(name, ADAPTER))
        *part = SP_PART_ADAPTER;
    else if (strcmp(name, MEMORY_TOKENS) != 0 && strcmp(name, MERGER) != 0)
        *part = SP_PART_ENCODER;
    return name;
}

/* Adds an entry of zeros; room is there. */
static sp_status add_entry(sp_export_parts *parts, sp_export_part part, const char *name,
                           size_t n_dims, const size_t *shape, float **values) {
    size_t n_values = 1;
    for (size_t i = 0; i < n_dims; i++) n_values *= shape[i]; /* as the checkpoint has checked */
    void *data = NULL;
    SP_TRY(sp_alloc_array(&data, n_values, sizeof(float), name));
    sp_safetensors_entry *entry = &parts->entries[part][parts->n_entries[part]++];
    *entry = (sp_safetensors_entry){.name = name, .n_dims = n_dims, .data = data};
    memcpy(entry->shape, shape, n_dims * sizeof *shape);
    *values = data;
    return SP_OK;
}

/* Parameters are [out, in]. */
static sp_status transpose(sp_safetensors_entry *entry) {
    const size_t n_rows = entry->shape[0], n_columns = entry->shape[1];
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n_rows, n_columns * sizeof(float), entry->name));
    float *turned = block;
    for (size_t j = 0; j < n_columns; j++)
        for (size_t i = 0; i < n_rows; i++) turned[j * n_rows + i] = entry->data[i * n_columns + j];
    free((void *)entry->data);
    entry->data = turned;
    entry->shape[0] = n_columns;
    entry->shape[1] = n_rows;
    return SP_OK;
}

static sp_status read_tensor(sp_export_parts *parts, const sp_checkpoint_tensor *tensor) {
    sp_export_part part = SP_PART_PCC;
    float *values = NULL;
    const char *name = exported_name(tensor->name, &part);
    if (name == NULL) return SP_OK;
    SP_TRY(add_entry(parts, part, name, tensor->n_dims, tensor->shape, &values));
    SP_TRY(sp_checkpoint_read_tensor(parts->checkpoint, tensor->name, tensor->n_dims, tensor->shape,
                                     values));
    if (part != SP_PART_ENCODER ||
        !sp_family_stores_transposed(parts->encoder.family->name, name) || tensor->n_dims != 2)
        return SP_OK;
    return transpose(&parts->entries[part][parts->n_entries[part] - 1]);
}

/* Memory does not pass the head, so that its adapter is zero (pcc.md §2). */
static sp_status add_head(sp_export_parts *parts) {
    const sp_string_list *targets = &parts->config.encoder.lora.targets;
    const size_t rank = parts->config.encoder.lora.rank;
    float *values = NULL;
    bool is_target = false;
    for (size_t i = 0; i < targets->n_items; i++)
        is_target = is_target || strcmp(targets->items[i], "head") == 0;
    if (parts->config.encoder.train != SP_ENCODER_LORA || !is_target) return SP_OK;
    SP_TRY(add_entry(parts, SP_PART_ADAPTER, "base_model.model.lm_head.lora_A.weight", 2,
                     (const size_t[]){rank, parts->encoder.d_model}, &values));
    return add_entry(parts, SP_PART_ADAPTER, "base_model.model.lm_head.lora_B.weight", 2,
                     (const size_t[]){parts->encoder.vocab_size, rank}, &values);
}

static sp_status read_tensors(sp_export_parts *parts) {
    enum { OF_HEAD = 2 };
    const size_t n = sp_checkpoint_n_tensors(parts->checkpoint);
    for (int part = 0; part < SP_N_PARTS; part++) {
        void *entries = NULL;
        SP_TRY(sp_alloc_array(&entries, n + OF_HEAD, sizeof *parts->entries[part], "tensors"));
        parts->entries[part] = entries;
    }
    for (size_t i = 0; i < n; i++) {
        const sp_checkpoint_tensor tensor = sp_checkpoint_tensor_at(parts->checkpoint, i);
        SP_TRY(read_tensor(parts, &tensor));
    }
    return add_head(parts);
}

static sp_status open_parts(sp_export_parts *parts, const char *checkpoint) {
    SP_TRY(sp_checkpoint_open(&parts->checkpoint, checkpoint));
    SP_TRY(sp_models_read_config(&parts->config, parts->checkpoint));
    const char *model = parts->config.encoder.model;
    if (model == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': its configuration has no encoder.model",
                       sp_checkpoint_path(parts->checkpoint));
    if (access(model, F_OK) != 0)
        return sp_fail(SP_IO, "'%s': %s; the encoder's model tells its family", model,
                       strerror(errno));
    SP_TRY(sp_model_config_json_load(&parts->encoder_json, model));
    if (parts->encoder_json == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': a tokenizer, and no model", model);
    SP_TRY(sp_models_cut_encoder(parts->encoder_json, &parts->config));
    SP_TRY(sp_model_config_read(&parts->encoder, parts->encoder_json, model));
    return read_tensors(parts);
}

sp_status sp_export_parts_open(sp_export_parts *parts, const char *checkpoint) {
    *parts = (sp_export_parts){0};
    const sp_status status = open_parts(parts, checkpoint);
    if (status != SP_OK) sp_export_parts_close(parts);
    return status;
}

void sp_export_parts_close(sp_export_parts *parts) {
    for (int part = 0; part < SP_N_PARTS; part++) {
        for (size_t i = 0; i < parts->n_entries[part]; i++)
            free((void *)parts->entries[part][i].data); /* ours, whoever reads it */
        free(parts->entries[part]);
    }
    json_decref(parts->encoder_json);
    sp_run_config_free(&parts->config);
    sp_checkpoint_close(parts->checkpoint);
    *parts = (sp_export_parts){0};
}

const sp_safetensors_entry *sp_export_parts_find(const sp_export_parts *parts, sp_export_part part,
                                                 const char *name) {
    for (size_t i = 0; i < parts->n_entries[part]; i++)
        if (strcmp(parts->entries[part][i].name, name) == 0) return &parts->entries[part][i];
    return NULL;
}

sp_status sp_export_make_folder(const sp_export_parts *parts, const char *folder) {
    SP_TRY(sp_make_folders(folder));
    char *output = realpath(folder, NULL), *model = realpath(parts->config.encoder.model, NULL);
    const bool is_same = output != NULL && model != NULL && strcmp(output, model) == 0;
    free(model);
    free(output);
    if (!is_same) return SP_OK;
    return sp_fail(SP_USAGE, "'%s' is the encoder's model; an export needs another folder", folder);
}

json_t *sp_export_copy_config(const sp_export_parts *parts) {
    json_t *config = json_deep_copy(parts->encoder_json);
    if (config != NULL) json_object_del(config, "_name_or_path");
    return config;
}

static sp_status make_path(char **path, const char *folder, const char *name) {
    if (asprintf(path, "%s/%s", folder, name) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path");
}

sp_status sp_export_parts_write(const sp_export_parts *parts, sp_export_part part,
                                const char *folder, const char *name) {
    char *path = NULL;
    SP_TRY(make_path(&path, folder, name));
    json_t *metadata = json_pack("{s:s}", "format", "pt"); /* transformers asks for it */
    const sp_status status =
        sp_safetensors_write(path, parts->entries[part], parts->n_entries[part], metadata);
    json_decref(metadata);
    free(path);
    return status;
}

sp_status sp_export_write_json(json_t *object, const char *folder, const char *name) {
    char *path = NULL;
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(object);
    if (text == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", name);
    sp_status status = make_path(&path, folder, name);
    if (status == SP_OK) status = sp_atomic_write(path, text, strlen(text));
    free(path);
    free(text);
    return status;
}

sp_status sp_export_write_pcc(const sp_export_parts *parts, const char *folder) {
    SP_TRY(sp_export_parts_write(parts, SP_PART_PCC, folder, "pcc.safetensors"));
    return sp_export_write_json(sp_pcc_config_make(&parts->config), folder, "pcc_config.json");
}
