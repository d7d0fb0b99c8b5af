#include "run/export.h"

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/model_source.h"
#include "io/safetensors.h"
#include "model/family.h"
#include "run/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the checkpoint's tensors are to become. */
typedef enum sort { SORT_ADAPTER, SORT_ENCODER, SORT_PCC, N_SORTS } sort;

typedef struct exporting {
    sp_checkpoint *checkpoint;
    sp_run_config config;
    const char *output;
    sp_safetensors_entry *entries[N_SORTS]; /* names borrowed from the checkpoint, data owned */
    size_t n_entries[N_SORTS];
} exporting;

static const char ENCODER[] = "encoder.", ADAPTER[] = "base_model.", PCC_ROWS[] = "memory_tokens";

static bool begins_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* The exported name of a tensor, and its sort; NULL for what is not exported. */
static const char *exported_name(const char *name, sort *which) {
    if (begins_with(name, "optimizer.")) return NULL;
    *which = SORT_PCC;
    if (!begins_with(name, ENCODER)) return name;
    name += strlen(ENCODER);
    if (begins_with(name, ADAPTER))
        *which = SORT_ADAPTER;
    else if (strcmp(name, PCC_ROWS) != 0)
        *which = SORT_ENCODER;
    return name;
}

static sp_status read_tensor(exporting *e, const sp_checkpoint_tensor *tensor) {
    sort which = SORT_PCC;
    const char *name = exported_name(tensor->name, &which);
    if (name == NULL) return SP_OK;
    sp_safetensors_entry *entry = &e->entries[which][e->n_entries[which]];
    *entry = (sp_safetensors_entry){.name = name, .n_dims = tensor->n_dims};
    size_t n_values = 1;
    for (size_t i = 0; i < tensor->n_dims; i++) {
        entry->shape[i] = tensor->shape[i];
        n_values *= tensor->shape[i];
    }
    void *data = NULL;
    SP_TRY(sp_alloc_array(&data, n_values, sizeof(float), tensor->name));
    entry->data = data;
    e->n_entries[which]++;
    return sp_checkpoint_read_tensor(e->checkpoint, tensor->name, tensor->n_dims, tensor->shape,
                                     data);
}

static sp_status read_tensors(exporting *e) {
    const size_t n = sp_checkpoint_n_tensors(e->checkpoint);
    for (int which = 0; which < N_SORTS; which++) {
        void *entries = NULL;
        SP_TRY(sp_alloc_array(&entries, n, sizeof *e->entries[which], "tensors"));
        e->entries[which] = entries;
    }
    for (size_t i = 0; i < n; i++) {
        const sp_checkpoint_tensor tensor = sp_checkpoint_tensor_at(e->checkpoint, i);
        SP_TRY(read_tensor(e, &tensor));
    }
    return SP_OK;
}

static sp_status make_path(char **path, const exporting *e, const char *name) {
    if (asprintf(path, "%s/%s", e->output, name) >= 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for a path");
}

static sp_status write_tensors(const exporting *e, sort which, const char *name) {
    char *path = NULL;
    json_t *metadata = json_pack("{s:s}", "format", "pt"); /* transformers asks for it */
    SP_TRY(make_path(&path, e, name));
    const sp_status status =
        sp_safetensors_write(path, e->entries[which], e->n_entries[which], metadata);
    json_decref(metadata);
    free(path);
    return status;
}

/* Takes the object. */
static sp_status write_json(const exporting *e, json_t *object, const char *name) {
    char *path = NULL;
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(object);
    if (text == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", name);
    sp_status status = make_path(&path, e, name);
    if (status == SP_OK) status = sp_atomic_write(path, text, strlen(text));
    free(path);
    free(text);
    return status;
}

static sp_status write_adapter_config(const exporting *e) {
    json_t *modules = json_array();
    const sp_family *family = sp_family_find("llama");
    const sp_string_list *targets = &e->config.encoder.lora.targets;
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        for (size_t i = 0; i < targets->n_items; i++)
            if (strcmp(targets->items[i], sp_role_names[role]) == 0)
                json_array_append_new(modules, json_string(strchr(family->modules[role], '.') + 1));
    return write_json(
        e,
        json_pack("{s:s, s:s, s:n, s:I, s:f, s:f, s:o, s:s, s:b, s:b, s:b}", "peft_type", "LORA",
                  "task_type", "CAUSAL_LM", "base_model_name_or_path", "r",
                  (json_int_t)e->config.encoder.lora.rank, "lora_alpha",
                  e->config.encoder.lora.alpha, "lora_dropout", e->config.encoder.lora.dropout,
                  "target_modules", modules, "bias", "none", "fan_in_fan_out", 0, "inference_mode",
                  1, "init_lora_weights", 1),
        "adapter_config.json");
}

static sp_status write_encoder_config(const exporting *e) {
    sp_model_source source = {0};
    SP_TRY(sp_model_source_open(&source, e->config.encoder.model));
    json_t *config = json_deep_copy(source.config);
    sp_model_source_close(&source);
    if (config != NULL) {
        json_object_del(config, "_name_or_path"); /* of where the base model once lay */
        json_object_del(config, "dtype");
        json_object_set_new(config, "torch_dtype", json_string("float32"));
    }
    return write_json(e, config, "config.json");
}

static sp_status write_all(const exporting *e) {
    SP_TRY(sp_make_folders(e->output));
    if (e->n_entries[SORT_ADAPTER] > 0) {
        SP_TRY(write_tensors(e, SORT_ADAPTER, "adapter_model.safetensors"));
        SP_TRY(write_adapter_config(e));
    }
    if (e->n_entries[SORT_ENCODER] > 0) {
        SP_TRY(write_tensors(e, SORT_ENCODER, "model.safetensors"));
        SP_TRY(write_encoder_config(e));
    }
    return write_tensors(e, SORT_PCC, "pcc.safetensors");
}

sp_status sp_export(const char *checkpoint, const char *output) {
    exporting e = {.output = output};
    sp_status status = sp_checkpoint_open(&e.checkpoint, checkpoint);
    if (status == SP_OK) status = sp_models_read_config(&e.config, e.checkpoint);
    if (status == SP_OK) status = read_tensors(&e);
    if (status == SP_OK) status = write_all(&e);
    for (int which = 0; which < N_SORTS; which++) {
        for (size_t i = 0; i < e.n_entries[which]; i++) free((void *)e.entries[which][i].data);
        free(e.entries[which]);
    }
    sp_run_config_free(&e.config);
    sp_checkpoint_close(e.checkpoint);
    return status;
}
