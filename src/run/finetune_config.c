#include "run/finetune_config.h"

#include "base/json.h"
#include "base/log.h"
#include "io/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the user says: the file, then assignments. */
typedef struct said {
    const char *path;
    const char *const *assignments;
    size_t n_assignments;
} said;

static sp_status apply(sp_run_config *config, const said *what) {
    if (what->path != NULL) SP_TRY(sp_config_load_file(config, &sp_run_config_table, what->path));
    for (size_t i = 0; i < what->n_assignments; i++)
        SP_TRY(sp_config_assign(config, &sp_run_config_table, what->assignments[i]));
    return SP_OK;
}

/* Of a saved configuration what the weights were made with; owned. */
static sp_status select_members(json_t **selected, const json_t *saved, const char *where) {
    json_t *decoder = json_copy(json_object_get(saved, "decoder"));
    const json_t *data = json_object_get(saved, "data");
    json_object_del(decoder, "markers");
    *selected = json_pack("{s:O*, s:o*, s:O*, s:{s:O*, s:O*}}", "encoder",
                          json_object_get(saved, "encoder"), "decoder", decoder, "segment",
                          json_object_get(saved, "segment"), "data", "encoder_stream",
                          json_object_get(data, "encoder_stream"), "decoder_stream",
                          json_object_get(data, "decoder_stream"));
    if (*selected != NULL) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': its configuration cannot be read", where);
}

static sp_status inherit_from(sp_run_config *config, const char *step_dir) {
    char *path = NULL;
    json_t *manifest = NULL, *selected = NULL;
    if (asprintf(&path, "%s/manifest.json", step_dir) < 0)
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", step_dir);
    sp_status status = sp_json_load_file(&manifest, path);
    if (status == SP_OK)
        status = select_members(&selected, json_object_get(manifest, "config"), path);
    if (status == SP_OK) status = sp_config_load_json(config, &sp_run_config_table, selected, path);
    json_decref(selected);
    json_decref(manifest);
    free(path);
    return status;
}

/* `config` holds what the user says. */
static sp_status inherit(sp_run_config *made, const sp_run_config *config) {
    const char *const dirs[] = {config->train.init, config->run.dir};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        char *step_dir = NULL;
        if (dirs[i] != NULL) SP_TRY(sp_checkpoint_find(dirs[i], &step_dir));
        if (step_dir == NULL) continue;
        const sp_status status = inherit_from(made, step_dir);
        free(step_dir);
        return status;
    }
    if (config->train.init == NULL) return SP_OK;
    return sp_fail(SP_IO, "train.init: there is no checkpoint in '%s'", config->train.init);
}

/* Commands that read tokens look for streams by these names. */
static sp_status name_streams(sp_run_config *config) {
    if (config->data.encoder_stream == NULL)
        SP_TRY(sp_config_set(config, &sp_run_config_table, "data.encoder_stream", "encoder"));
    if (config->data.decoder_stream == NULL)
        SP_TRY(sp_config_set(config, &sp_run_config_table, "data.decoder_stream", "decoder"));
    return SP_OK;
}

/* Are all ratios among those that weights were trained with? */
static bool has_ratios(const sp_count_list *trained, const sp_count_list *asked) {
    size_t n = 0;
    for (size_t i = 0; i < asked->n_items; i++)
        for (size_t k = 0; k < trained->n_items; k++) n += trained->items[k] == asked->items[i];
    return n == asked->n_items;
}

/* A compressor knows the ratios that it was trained with; another one may be meant. */
static void note_changes(const sp_run_config *config, const sp_run_config *inherited) {
    if (config->train.init == NULL) return;
    if (config->segment.tokens != inherited->segment.tokens)
        sp_log(SP_LOG_WARNING, "segment.tokens is %zu; '%s' was trained with %zu",
               config->segment.tokens, config->train.init, inherited->segment.tokens);
    if (has_ratios(&inherited->segment.ratios, &config->segment.ratios)) return;
    char now[64], before[64];
    sp_config_counts_text(now, sizeof now, &config->segment.ratios);
    sp_config_counts_text(before, sizeof before, &inherited->segment.ratios);
    sp_log(SP_LOG_WARNING, "segment.ratio is %s; '%s' was trained with %s", now, config->train.init,
           before);
}

static sp_status check(const sp_run_config *config) {
    if (config->data.rows == NULL)
        return sp_fail(SP_USAGE, "data.rows: needs a value, in the configuration file or by --set");
    if (config->data.tokens != NULL)
        return sp_fail(SP_USAGE, "data.tokens: finetune reads data.rows; tokens are for pretrain");
    return sp_run_config_check(config);
}

sp_status sp_finetune_config_load(sp_run_config *config, const char *path,
                                  const char *const *assignments, size_t n_assignments) {
    const said what = {path, assignments, n_assignments};
    sp_run_config first = {0}, inherited = {0};
    sp_status status = sp_config_init(&first, &sp_run_config_table);
    if (status == SP_OK) status = apply(&first, &what);
    if (status == SP_OK) status = sp_config_init(&inherited, &sp_run_config_table);
    if (status == SP_OK) status = inherit(&inherited, &first);
    if (status == SP_OK) status = sp_config_init(config, &sp_run_config_table);
    if (status == SP_OK) status = inherit(config, &first);
    if (status == SP_OK) status = apply(config, &what);
    if (status == SP_OK) status = name_streams(config);
    if (status == SP_OK)
        status = sp_run_config_explain(check(config), path, assignments, n_assignments);
    if (status == SP_OK) note_changes(config, &inherited);
    sp_run_config_free(&inherited);
    sp_run_config_free(&first);
    return status;
}

sp_status sp_finetune_config_is_meant(bool *is_meant, const char *path,
                                      const char *const *assignments, size_t n_assignments) {
    const said what = {path, assignments, n_assignments};
    sp_run_config config = {0};
    sp_status status = sp_config_init(&config, &sp_run_config_table);
    if (status == SP_OK) status = apply(&config, &what);
    *is_meant = status == SP_OK && sp_run_config_is_of_tasks(&config);
    sp_run_config_free(&config);
    return status;
}
