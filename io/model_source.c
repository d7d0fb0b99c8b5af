#include "io/model_source.h"

#include "base/read_all.h"
#include "io/family_tensors.h"
#include "io/gguf.h"
#include "io/gguf_config.h"
#include "io/gguf_names.h"
#include "io/gguf_tokenizer.h"
#include "io/safetensors_folder.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_STOP_IDS = 1024 }; /* no model has more than some ten */

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* A file that need not be there leaves *value NULL. */
static sp_status load_json_in(json_t **value, const char *folder, const char *name,
                              bool is_needed) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return sp_fail(SP_FAILURE, "no memory for the path '%s/%s'", folder, name);
    sp_status status = SP_OK;
    if (is_needed || access(path, F_OK) == 0) status = sp_json_load_file(value, path);
    if (status == SP_OK && *value != NULL && !json_is_object(*value)) {
        json_decref(*value);
        *value = NULL;
        status = sp_fail(SP_BAD_DATA, "'%s': not a JSON object", path);
    }
    free(path);
    return status;
}

/* A negative id stands for none, as in some files. */
static sp_status add_stop_id(sp_model_source *source, const json_t *id) {
    const json_int_t number = json_integer_value(id);
    if (!json_is_integer(id) || number > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "'%s': one of its end-of-text ids is no token id",
                       source->path);
    if (number < 0) return SP_OK;
    for (size_t i = 0; i < source->n_stop_ids; i++)
        if (source->stop_ids[i] == number) return SP_OK;
    if (source->n_stop_ids == MOST_STOP_IDS)
        return sp_fail(SP_BAD_DATA, "'%s': more than %d end-of-text ids", source->path,
                       MOST_STOP_IDS);
    int32_t *grown = reallocarray(source->stop_ids, source->n_stop_ids + 1, sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu ids", source->n_stop_ids + 1);
    source->stop_ids = grown;
    grown[source->n_stop_ids++] = (int32_t)number;
    return SP_OK;
}

/* Adds a member that is an id, a list of them, or not there. */
static sp_status add_stop_ids(sp_model_source *source, const json_t *object, const char *key) {
    const json_t *ids = json_object_get(object, key);
    if (ids == NULL || json_is_null(ids)) return SP_OK;
    if (!json_is_array(ids)) return add_stop_id(source, ids);
    for (size_t i = 0; i < json_array_size(ids); i++)
        SP_TRY(add_stop_id(source, json_array_get(ids, i)));
    return SP_OK;
}

static sp_status read_stop_ids(sp_model_source *source) {
    json_t *generation = NULL;
    SP_TRY(load_json_in(&generation, source->path, "generation_config.json", false));
    const sp_status status = add_stop_ids(source, generation, "eos_token_id");
    json_decref(generation);
    if (status != SP_OK || source->n_stop_ids > 0) return status;
    return add_stop_ids(source, source->config, "eos_token_id");
}

static sp_status read_folder(sp_model_source *source, bool is_outline) {
    sp_safetensors_folder folder = {0};
    const char *model_type = NULL;
    source->format = "safetensors";
    SP_TRY(load_json_in(&source->config, source->path, "config.json", true));
    SP_TRY(sp_json_get_string(&model_type, source->config, "model_type", source->path));
    if (is_outline && !sp_safetensors_folder_has_weights(source->path))
        return read_stop_ids(source);
    SP_TRY(sp_safetensors_folder_open(&folder, source->path));
    source->tensors = folder.tensors; /* and all else that it holds moves likewise */
    source->n_left_out = folder.n_left_out;
    source->mappings = folder.mappings;
    source->n_mappings = folder.n_mappings;
    SP_TRY(
        sp_family_tensors_settle(&source->tensors, &source->n_left_out, model_type, source->path));
    return read_stop_ids(source);
}

/* What the source needs of the file moves into it. */
static sp_status take_gguf(sp_model_source *source, sp_gguf *gguf) {
    static const char *const stop_keys[] = {"tokenizer.ggml.eos_token_id",
                                            "tokenizer.ggml.eot_token_id",
                                            "tokenizer.ggml.eom_token_id"};
    SP_TRY(sp_gguf_make_config(&source->config, gguf, source->path));
    SP_TRY(sp_gguf_rename_tensors(gguf, source->config, source->path));
    for (size_t i = 0; i < sizeof stop_keys / sizeof stop_keys[0]; i++)
        SP_TRY(add_stop_ids(source, gguf->metadata, stop_keys[i]));
    source->mappings = malloc(sizeof *source->mappings);
    if (source->mappings == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", source->path);
    source->mappings[0] = gguf->mapping;
    source->n_mappings = 1;
    source->tensors = gguf->tensors;
    gguf->mapping = (sp_mapping){0};
    gguf->tensors = (sp_tensor_table){0};
    return SP_OK;
}

static sp_status read_gguf(sp_model_source *source, bool is_outline) {
    sp_gguf gguf = {0};
    source->format = "gguf";
    SP_TRY(is_outline ? sp_gguf_open_outline(&gguf, source->path)
                      : sp_gguf_open(&gguf, source->path));
    const sp_status status = take_gguf(source, &gguf);
    sp_gguf_close(&gguf);
    return status;
}

static sp_status open_source(sp_model_source *source, const char *path, bool is_outline) {
    sp_model_source made = {.path = strdup(path)};
    if (made.path == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    const sp_status status =
        is_folder(path) ? read_folder(&made, is_outline) : read_gguf(&made, is_outline);
    if (status == SP_OK)
        *source = made;
    else
        sp_model_source_close(&made);
    return status;
}

sp_status sp_model_source_open(sp_model_source *source, const char *path) {
    return open_source(source, path, false);
}

sp_status sp_model_source_open_outline(sp_model_source *source, const char *path) {
    return open_source(source, path, true);
}

void sp_model_source_close(sp_model_source *source) {
    sp_tensor_table_free(&source->tensors);
    for (size_t i = 0; i < source->n_mappings; i++) sp_mapping_close(&source->mappings[i]);
    free(source->mappings);
    free(source->stop_ids);
    json_decref(source->config);
    free(source->path);
    *source = (sp_model_source){0};
}

void sp_model_source_give_back(const sp_model_source *source) {
    for (size_t i = 0; i < source->n_mappings; i++) sp_mapping_give_back(&source->mappings[i]);
}

static bool is_gguf(const char *path) {
    const size_t len = strlen(path);
    if (len >= 5 && strcmp(path + len - 5, ".gguf") == 0) return true;
    char magic[4] = {0};
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    const bool has_magic =
        fread(magic, 1, sizeof magic, file) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    fclose(file);
    return has_magic;
}

static sp_status load_gguf_tokenizer(json_t **tokenizer, const char *path) {
    sp_gguf gguf = {0};
    SP_TRY(sp_gguf_open(&gguf, path));
    const sp_status status = sp_gguf_make_tokenizer(tokenizer, &gguf, path);
    sp_gguf_close(&gguf);
    return status;
}

sp_status sp_tokenizer_json_load(json_t **tokenizer, const char *path) {
    json_t *loaded = NULL;
    if (is_gguf(path)) return load_gguf_tokenizer(tokenizer, path);
    if (is_folder(path))
        SP_TRY(load_json_in(&loaded, path, "tokenizer.json", true));
    else
        SP_TRY(sp_json_load_file(&loaded, path));
    *tokenizer = loaded;
    return SP_OK;
}

static sp_status load_gguf_config(json_t **config, const char *path) {
    sp_gguf gguf = {0};
    SP_TRY(sp_gguf_open_outline(&gguf, path));
    const sp_status status = sp_gguf_make_config(config, &gguf, path);
    sp_gguf_close(&gguf);
    return status;
}

sp_status sp_model_config_json_load(json_t **config, const char *path) {
    if (is_gguf(path)) return load_gguf_config(config, path);
    *config = NULL;
    return is_folder(path) ? load_json_in(config, path, "config.json", false) : SP_OK;
}

/* The text at a member of an object: a string, or of several templates the one called "default". */
static sp_status copy_template(char **text, const json_t *object, const char *key,
                               const char *path) {
    const json_t *member = json_object_get(object, key), *one;
    size_t i;
    json_array_foreach(member, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name == NULL || strcmp(name, "default") != 0) continue;
        member = json_object_get(one, "template");
        break;
    }
    if (!json_is_string(member)) return SP_OK;
    *text = strdup(json_string_value(member));
    return *text != NULL ? SP_OK : sp_fail(SP_FAILURE, "'%s': no memory for a template", path);
}

static sp_status load_gguf_template(char **text, const char *path) {
    sp_gguf gguf = {0};
    SP_TRY(sp_gguf_open(&gguf, path));
    const sp_status status = copy_template(text, gguf.metadata, "tokenizer.chat_template", path);
    sp_gguf_close(&gguf);
    return status;
}

static sp_status load_template_file(char **text, const char *folder) {
    char *path = NULL;
    size_t n_bytes = 0;
    if (asprintf(&path, "%s/chat_template.jinja", folder) < 0)
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", folder);
    FILE *file = fopen(path, "rb");
    sp_status status = SP_OK;
    if (file != NULL) {
        status = sp_read_all(text, &n_bytes, file, path);
        fclose(file);
    }
    free(path);
    return status;
}

sp_status sp_chat_template_load(char **text, const char *path) {
    json_t *config = NULL;
    *text = NULL;
    if (is_gguf(path)) return load_gguf_template(text, path);
    if (!is_folder(path)) return SP_OK;
    SP_TRY(load_template_file(text, path));
    if (*text != NULL) return SP_OK;
    SP_TRY(load_json_in(&config, path, "tokenizer_config.json", false));
    const sp_status status = copy_template(text, config, "chat_template", path);
    json_decref(config);
    return status;
}
