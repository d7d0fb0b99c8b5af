#include "io/manifest.h"

#include "io/atomic_file.h"
#include "io/content_digest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char format[] = "slotpress-checkpoint";

static sp_status join(char **path, const char *dir, const char *name) {
    if (asprintf(path, "%s/%s", dir, name) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for the path '%s/%s'", dir, name);
}

/* ---- writing ---- */

static sp_status write_text(const char *dir, const json_t *manifest) {
    char *path = NULL;
    char *text = json_dumps(manifest, JSON_INDENT(2));
    if (text == NULL) return sp_fail(SP_FAILURE, "cannot write a manifest for '%s' as JSON", dir);
    sp_status status = join(&path, dir, SP_MANIFEST_NAME);
    if (status == SP_OK) status = sp_atomic_write(path, text, strlen(text));
    free(path);
    free(text);
    return status;
}

sp_status sp_manifest_write(const char *dir, uint64_t step, const sp_checkpoint_file *files,
                            size_t n_files, const json_t *extra) {
    json_t *list = json_array();
    for (size_t i = 0; i < n_files; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name", files[i].name, "bytes",
                                              (json_int_t)files[i].n_bytes, "xxh3_128",
                                              files[i].xxh3_128));
    json_t *manifest =
        json_pack("{s:s, s:i, s:I, s:o}", "format", format, "format_version",
                  SP_CHECKPOINT_FORMAT_VERSION, "step", (json_int_t)step, "files", list);
    sp_status status = SP_OK;
    if (manifest == NULL || json_array_size(list) != n_files ||
        (extra != NULL && json_object_update_missing(manifest, (json_t *)extra) != 0))
        status = sp_fail(SP_FAILURE, "no memory for a manifest");
    if (status == SP_OK) status = write_text(dir, manifest);
    json_decref(manifest);
    return status;
}

/* ---- reading ---- */

uint64_t sp_manifest_step(const json_t *manifest) {
    return (uint64_t)json_integer_value(json_object_get(manifest, "step"));
}

size_t sp_manifest_n_files(const json_t *manifest) {
    return json_array_size(json_object_get(manifest, "files"));
}

static const json_t *file_at(const json_t *manifest, size_t index) {
    return json_array_get(json_object_get(manifest, "files"), index);
}

const char *sp_manifest_file(const json_t *manifest, size_t index) {
    return json_string_value(json_object_get(file_at(manifest, index), "name"));
}

static bool is_file_name(const char *name) {
    return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

static sp_status check_header(const json_t *manifest, const char *path) {
    const char *found = json_string_value(json_object_get(manifest, "format"));
    const json_t *version = json_object_get(manifest, "format_version");
    const json_t *step = json_object_get(manifest, "step");
    if (found == NULL || strcmp(found, format) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': not a checkpoint of slotpress", path);
    if (json_integer_value(version) != SP_CHECKPOINT_FORMAT_VERSION)
        return sp_fail(SP_BAD_DATA, "'%s': not of format version %d, which this program reads",
                       path, SP_CHECKPOINT_FORMAT_VERSION);
    if (!json_is_integer(step) || json_integer_value(step) < 0)
        return sp_fail(SP_BAD_DATA, "'%s': no step", path);
    if (!json_is_array(json_object_get(manifest, "files")))
        return sp_fail(SP_BAD_DATA, "'%s': no list of files", path);
    return SP_OK;
}

/* Holds the members of one entry against their types, and its file's size against it. */
static sp_status check_file(const json_t *entry, const char *dir) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const json_t *bytes = json_object_get(entry, "bytes");
    const char *digest = json_string_value(json_object_get(entry, "xxh3_128"));
    if (!is_file_name(name) || !json_is_integer(bytes) || digest == NULL)
        return sp_fail(SP_BAD_DATA, "'%s/%s': an entry of 'files' lacks a member", dir,
                       SP_MANIFEST_NAME);
    char *path = NULL;
    struct stat info;
    SP_TRY(join(&path, dir, name));
    sp_status status = SP_OK;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        status = sp_fail(SP_BAD_DATA, "'%s': missing, but in the manifest", path);
    else if (info.st_size != json_integer_value(bytes))
        status = sp_fail(SP_BAD_DATA, "'%s': %jd bytes, but %jd in the manifest", path,
                         (intmax_t)info.st_size, (intmax_t)json_integer_value(bytes));
    free(path);
    return status;
}

sp_status sp_manifest_read(json_t **manifest, const char *dir) {
    char *path = NULL;
    json_t *loaded = NULL;
    SP_TRY(join(&path, dir, SP_MANIFEST_NAME));
    sp_status status = sp_json_load_file(&loaded, path);
    if (status == SP_OK) status = check_header(loaded, path);
    for (size_t i = 0; status == SP_OK && i < sp_manifest_n_files(loaded); i++)
        status = check_file(file_at(loaded, i), dir);
    if (status == SP_OK) {
        *manifest = loaded;
        loaded = NULL;
    }
    json_decref(loaded);
    free(path);
    return status;
}

sp_status sp_manifest_verify(const json_t *manifest, const char *dir, size_t first, size_t n) {
    for (size_t i = first; i < sp_manifest_n_files(manifest); i += n) {
        const char *expected = json_string_value(json_object_get(file_at(manifest, i), "xxh3_128"));
        char *path = NULL, digest[SP_DIGEST_HEX_SIZE];
        SP_TRY(join(&path, dir, sp_manifest_file(manifest, i)));
        sp_status status = sp_digest_file(digest, path, 0);
        if (status == SP_OK && strcmp(digest, expected) != 0)
            status = sp_fail(SP_BAD_DATA, "'%s': its checksum is not the manifest's", path);
        free(path);
        SP_TRY(status);
    }
    return SP_OK;
}
