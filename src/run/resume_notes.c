#include "run/resume_notes.h"

#include "base/json.h"
#include "base/log.h"
#include "run/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The member at a key's path, "encoder.lora.rank", borrowed. */
static const json_t *value_at(const json_t *object, const char *path) {
    for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
        char section[64];
        snprintf(section, sizeof section, "%.*s", (int)(dot - path), path);
        object = json_object_get(object, section);
    }
    return json_object_get(object, path);
}

/* As a user would write it: 15 digits, which give back what was typed. Owned. */
static char *spell(const json_t *value) {
    if (json_is_string(value)) return strdup(json_string_value(value));
    return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
}

static void print_note(FILE *out, const char *key, const char *now, const char *saved,
                       const char *where) {
    if (strcmp(key, "train.init") == 0) /* its weights were read before the first step */
        fprintf(out, "%s: %s is not read: weights come from '%s', which began from %s\n", key, now,
                where, saved);
    else
        fprintf(out, "%s: %s here wins over %s of '%s'\n", key, now, saved, where);
}

static sp_status print_notes(FILE *out, const json_t *now, const json_t *saved, const char *where) {
    for (size_t i = 0; i < sp_run_config_table.n_keys; i++) {
        const char *key = sp_run_config_table.keys[i].name;
        const json_t *here = value_at(now, key), *there = value_at(saved, key);
        if (json_equal(here, there)) continue;
        char *spelled = spell(here), *spelled_there = spell(there);
        const bool is_spelled = spelled != NULL && spelled_there != NULL;
        if (is_spelled) print_note(out, key, spelled, spelled_there, where);
        free(spelled_there);
        free(spelled);
        if (!is_spelled) return sp_fail(SP_FAILURE, "no memory for a note on %s", key);
    }
    return SP_OK;
}

sp_status sp_resume_notes(char **lines, const sp_run_config *now, const sp_run_config *saved,
                          const char *where) {
    json_t *here = NULL, *there = NULL;
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = NULL;
    sp_status status = sp_config_dump(&here, now, &sp_run_config_table);
    if (status == SP_OK) status = sp_config_dump(&there, saved, &sp_run_config_table);
    if (status != SP_OK) goto cleanup;
    out = open_memstream(&text, &n_bytes);
    if (out != NULL) status = print_notes(out, here, there, where);
    if (out == NULL || fclose(out) != 0) status = sp_fail(SP_FAILURE, "no memory for notes");
    if (status == SP_OK) {
        *lines = text;
        text = NULL;
    }

cleanup:
    free(text);
    json_decref(there);
    json_decref(here);
    return status;
}

sp_status sp_resume_notes_log(const sp_run_config *now, const sp_checkpoint *checkpoint) {
    sp_run_config saved = {0};
    char *lines = NULL;
    sp_status status = sp_models_read_config(&saved, checkpoint);
    if (status == SP_OK)
        status = sp_resume_notes(&lines, now, &saved, sp_checkpoint_path(checkpoint));
    sp_run_config_free(&saved);
    char *rest = lines;
    for (const char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != '\0') sp_log(SP_LOG_INFO, "%s", line);
    free(lines);
    return status;
}
