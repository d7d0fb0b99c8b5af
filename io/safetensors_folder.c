#include "io/safetensors_folder.h"

#include "base/json.h"
#include "io/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const single_name = "model.safetensors";
static const char *const index_name = "model.safetensors.index.json";
static const char *const pickle_names[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};

/* What an index says. */
typedef struct shards {
    const json_t *weight_map; /* borrowed: {tensor: file} */
    json_t *places;           /* owned: {file: its index among the mappings} */
} shards;

/* *joined, owned: a file's path in a folder. */
static sp_status join_path(char **joined, const char *folder, const char *name) {
    if (asprintf(joined, "%s/%s", folder, name) >= 0) return SP_OK;
    *joined = NULL;
    return sp_fail(SP_FAILURE, "no memory for the path '%s/%s'", folder, name);
}

/* Maps one file and adds its tensors, unsorted. */
static sp_status add_file(sp_safetensors_folder *folder, const char *path, const char *name) {
    const size_t n = folder->n_mappings;
    sp_mapping *grown = reallocarray(folder->mappings, n + 1, sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu shards", n + 1);
    folder->mappings = grown;
    grown[n] = (sp_mapping){0};
    char *file_path = NULL;
    SP_TRY(join_path(&file_path, path, name));
    sp_status status = sp_mapping_open(&grown[n], file_path);
    if (status == SP_OK) {
        folder->n_mappings++;
        status = sp_safetensors_read(&folder->tensors, &folder->n_left_out, &grown[n], file_path);
    }
    free(file_path);
    return status;
}

static sp_status sort_tensors(sp_safetensors_folder *folder, const char *path) {
    if (sp_tensor_table_sort(&folder->tensors) == SP_OK) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': %s", path, sp_message());
}

/* An index names files of its own folder, nothing beyond. */
static bool is_file_name(const char *name) {
    return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

static sp_status add_shards(sp_safetensors_folder *folder, shards *index, const char *path) {
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)index->weight_map, tensor, file) { /* is not written to */
        const char *name = json_string_value(file);
        if (!is_file_name(name))
            return sp_fail(SP_BAD_DATA, "'%s/%s': tensor '%s' is in no file of this folder", path,
                           index_name, tensor);
        if (json_object_get(index->places, name) != NULL) continue;
        json_t *place = json_integer((json_int_t)folder->n_mappings);
        if (json_object_set_new(index->places, name, place) != 0)
            return sp_fail(SP_FAILURE, "'%s/%s': no memory for its shards", path, index_name);
        SP_TRY(add_file(folder, path, name));
    }
    return SP_OK;
}

/* Of no bytes, a tensor may begin where its file ends. */
static bool lies_in(const sp_tensor *tensor, const sp_mapping *mapping) {
    const unsigned char *data = tensor->data;
    return data >= mapping->data && data <= mapping->data + mapping->n_bytes;
}

/* Holds the index against the files. A tensor that is not found may be one that was left out. */
static sp_status check_shards(const sp_safetensors_folder *folder, const shards *index,
                              const char *path) {
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)index->weight_map, name, file) {
        const sp_tensor *tensor = sp_tensor_table_find(&folder->tensors, name);
        const json_t *place = json_object_get(index->places, json_string_value(file));
        const sp_mapping *mapping = &folder->mappings[json_integer_value(place)];
        if (tensor == NULL ? folder->n_left_out == 0 : !lies_in(tensor, mapping))
            return sp_fail(SP_BAD_DATA, "'%s/%s': tensor '%s' is not in '%s'", path, index_name,
                           name, json_string_value(file));
    }
    return SP_OK;
}

static sp_status read_weight_map(sp_safetensors_folder *folder, const json_t *json,
                                 const char *path) {
    shards index = {.weight_map = json_object_get(json, "weight_map"), .places = json_object()};
    sp_status status = SP_OK;
    if (json_object_size(index.weight_map) == 0)
        status = sp_fail(SP_BAD_DATA, "'%s/%s': no 'weight_map'", path, index_name);
    if (status == SP_OK) status = add_shards(folder, &index, path);
    if (status == SP_OK) status = sort_tensors(folder, path);
    if (status == SP_OK) status = check_shards(folder, &index, path);
    json_decref(index.places);
    return status;
}

static sp_status read_index(sp_safetensors_folder *folder, const char *path) {
    char *index_path = NULL;
    json_t *json = NULL;
    SP_TRY(join_path(&index_path, path, index_name));
    sp_status status = sp_json_load_file(&json, index_path);
    free(index_path);
    if (status == SP_OK) status = read_weight_map(folder, json, path);
    json_decref(json);
    return status;
}

static sp_status read_single(sp_safetensors_folder *folder, const char *path) {
    SP_TRY(add_file(folder, path, single_name));
    return sort_tensors(folder, path);
}

static bool has_file(const char *path, const char *name) {
    char *file_path = NULL;
    if (asprintf(&file_path, "%s/%s", path, name) < 0) return false;
    const bool is_there = access(file_path, F_OK) == 0;
    free(file_path);
    return is_there;
}

static sp_status read_files(sp_safetensors_folder *folder, const char *path) {
    if (has_file(path, single_name)) return read_single(folder, path);
    if (has_file(path, index_name)) return read_index(folder, path);
    for (size_t i = 0; i < sizeof pickle_names / sizeof pickle_names[0]; i++)
        if (has_file(path, pickle_names[i]))
            return sp_fail(SP_BAD_DATA,
                           "'%s/%s': pickles are not read; save the model as safetensors", path,
                           pickle_names[i]);
    return sp_fail(SP_BAD_DATA, "'%s': neither %s nor %s in it", path, single_name, index_name);
}

bool sp_safetensors_folder_has_weights(const char *path) {
    return has_file(path, single_name) || has_file(path, index_name);
}

sp_status sp_safetensors_folder_open(sp_safetensors_folder *folder, const char *path) {
    sp_safetensors_folder made = {0};
    const sp_status status = read_files(&made, path);
    if (status == SP_OK)
        *folder = made;
    else
        sp_safetensors_folder_close(&made);
    return status;
}

void sp_safetensors_folder_close(sp_safetensors_folder *folder) {
    sp_tensor_table_free(&folder->tensors);
    for (size_t i = 0; i < folder->n_mappings; i++) sp_mapping_close(&folder->mappings[i]);
    free(folder->mappings);
    *folder = (sp_safetensors_folder){0};
}
