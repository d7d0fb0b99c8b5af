#include "run/inspect.h"

#include "io/checkpoint.h"
#include "io/file_kind.h"
#include "io/model_source.h"
#include "io/slots_file.h"
#include "io/text_reader.h"
#include "io/tokens_file.h"
#include "run/metrics_summary.h"
#include "run/run_config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sp_status no_memory(const char *path) {
    return sp_fail(SP_FAILURE, "no memory to describe '%s'", path);
}

/* Adds the member `key`, taking `value`. */
static sp_status set_member(json_t *object, const char *key, json_t *value, const char *path) {
    return json_object_set_new(object, key, value) == 0 ? SP_OK : no_memory(path);
}

static sp_status describe_config(json_t **description, const char *path) {
    sp_run_config config = {0};
    json_t *values = NULL;
    sp_status status = sp_config_init(&config, &sp_run_config_table);
    if (status == SP_OK) status = sp_config_load_file(&config, &sp_run_config_table, path);
    if (status == SP_OK) status = sp_config_dump(&values, &config, &sp_run_config_table);
    sp_run_config_free(&config);
    if (status != SP_OK) return status;
    *description = json_pack("{s:s, s:o}", "format", "configuration", "config", values);
    return *description == NULL ? no_memory(path) : SP_OK;
}

static sp_status count_documents(sp_text_reader *reader, json_int_t counts[3]) {
    for (;;) {
        sp_document document;
        bool is_end = false;
        SP_TRY(sp_text_reader_next(reader, &document, &is_end));
        if (is_end) return SP_OK;
        counts[0]++;
        counts[1] += document.n_bytes == 0;
        counts[2] += (json_int_t)document.n_bytes;
    }
}

static sp_status describe_text(json_t **description, const char *path) {
    sp_text_reader *reader = NULL;
    SP_TRY(sp_text_reader_open(&reader, path, NULL, NULL));
    json_int_t counts[3] = {0}; /* documents, empty ones, bytes */
    const sp_status status = count_documents(reader, counts);
    sp_text_reader_close(reader);
    if (status != SP_OK) return status;
    *description = json_pack("{s:s, s:I, s:I, s:I}", "format", "text", "documents", counts[0],
                             "empty_documents", counts[1], "text_bytes", counts[2]);
    return *description == NULL ? no_memory(path) : SP_OK;
}

static sp_status describe_json(json_t **description, const char *path) {
    json_t *contents = NULL;
    SP_TRY(sp_json_load_file(&contents, path));
    *description = json_pack("{s:s, s:o}", "format", "json", "contents", contents);
    return *description == NULL ? no_memory(path) : SP_OK;
}

/* The newest checkpoint, if there is one yet, and the metrics, if they have begun. */
static sp_status describe_run(json_t **description, const char *path) {
    char *metrics_path = NULL, *checkpoint_path = NULL;
    json_t *metrics = NULL, *made = NULL;
    sp_status status = SP_OK;
    if (asprintf(&metrics_path, "%s/metrics.jsonl", path) < 0) return no_memory(path);
    if (access(metrics_path, F_OK) == 0) status = sp_metrics_summarize(&metrics, metrics_path);
    if (status == SP_OK) status = sp_checkpoint_find(path, &checkpoint_path);
    if (status == SP_OK && checkpoint_path != NULL)
        status = sp_checkpoint_describe(&made, checkpoint_path);
    if (status == SP_OK && made == NULL) made = json_pack("{s:s, s:n}", "format", "run", "step");
    if (status == SP_OK && made == NULL) status = no_memory(path);
    if (status == SP_OK && metrics != NULL) {
        status = set_member(made, "metrics", metrics, path);
        metrics = NULL;
    }
    if (status == SP_OK)
        *description = made;
    else
        json_decref(made);
    json_decref(metrics);
    free(checkpoint_path);
    free(metrics_path);
    return status;
}

static bool ends_with(const char *text, const char *end) {
    const size_t text_len = strlen(text), end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

/* Adds the file `name` of the folder to `files`, if it is one of those that an export has. */
static sp_status add_exported_file(json_t *files, const char *folder, const char *name) {
    const bool has_tensors = ends_with(name, ".safetensors");
    if (!has_tensors && !ends_with(name, ".json")) return SP_OK;
    char *path = NULL;
    json_t *value = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) return no_memory(folder);
    sp_status status =
        has_tensors ? sp_model_source_describe(&value, path) : sp_json_load_file(&value, path);
    if (status == SP_OK) status = set_member(files, name, value, path);
    free(path);
    return status;
}

static sp_status describe_export(json_t **description, const char *path) {
    struct dirent **entries = NULL;
    const int n_entries = scandir(path, &entries, NULL, alphasort);
    if (n_entries < 0) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    json_t *files = json_object();
    sp_status status = files == NULL ? no_memory(path) : SP_OK;
    for (int i = 0; i < n_entries; i++) {
        if (status == SP_OK) status = add_exported_file(files, path, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (status != SP_OK) {
        json_decref(files);
        return status;
    }
    *description = json_pack("{s:s, s:o}", "format", "export", "files", files);
    return *description == NULL ? no_memory(path) : SP_OK;
}

sp_status sp_inspect(json_t **description, const char *path) {
    static sp_status (*const describe[])(json_t **, const char *) = {
        [SP_FILE_MODEL] = sp_model_source_describe,
        [SP_FILE_EXPORT] = describe_export,
        [SP_FILE_TOKENS] = sp_tokens_describe,
        [SP_FILE_SLOTS] = sp_slots_describe,
        [SP_FILE_CHECKPOINT] = sp_checkpoint_describe,
        [SP_FILE_RUN] = describe_run,
        [SP_FILE_METRICS] = sp_metrics_summarize,
        [SP_FILE_CONFIG] = describe_config,
        [SP_FILE_JSON] = describe_json,
        [SP_FILE_TEXT] = describe_text,
    };
    sp_file_kind kind;
    SP_TRY(sp_file_kind_of(&kind, path));
    return describe[kind](description, path);
}
