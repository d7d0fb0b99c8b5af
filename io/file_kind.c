#include "io/file_kind.h"

#include "io/hdf5_internal.h"
#include "io/hdf5_seal.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *text, const char *end) {
    const size_t text_len = strlen(text), end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

static sp_status fail_unknown(const char *path) {
    return sp_fail(SP_BAD_DATA, "'%s': not of a kind that slotpress reads or writes", path);
}

/* The signs of a folder, the most telling first. */
typedef struct folder_signs {
    bool has_manifest, has_steps, has_metrics, has_export, has_model;
} folder_signs;

static void note_sign(folder_signs *signs, const char *name) {
    if (strcmp(name, "manifest.json") == 0) signs->has_manifest = true;
    if (strncmp(name, "step-", 5) == 0) signs->has_steps = true;
    if (strcmp(name, "metrics.jsonl") == 0) signs->has_metrics = true;
    if (strcmp(name, "pcc.safetensors") == 0 || strcmp(name, "adapter_config.json") == 0)
        signs->has_export = true;
    if (strcmp(name, "config.json") == 0 || strcmp(name, "tokenizer.json") == 0 ||
        ends_with(name, ".safetensors"))
        signs->has_model = true;
}

static sp_status kind_of_folder(sp_file_kind *kind, const char *path) {
    folder_signs signs = {0};
    DIR *folder = opendir(path);
    if (folder == NULL) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
        note_sign(&signs, entry->d_name);
    closedir(folder);
    if (signs.has_manifest)
        *kind = SP_FILE_CHECKPOINT;
    else if (signs.has_steps || signs.has_metrics)
        *kind = SP_FILE_RUN;
    else if (signs.has_export)
        *kind = SP_FILE_EXPORT;
    else if (signs.has_model)
        *kind = SP_FILE_MODEL;
    else
        return fail_unknown(path);
    return SP_OK;
}

/* Token and slot files tell apart by the attribute `format`. */
static sp_status kind_of_hdf5(sp_file_kind *kind, const char *path) {
    char format[64] = "";
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    sp_hdf5_lock();
    sp_status status = sp_hdf5_open(&file, path);
    if (status == SP_OK) status = sp_hdf5_read_string(&file, "/", "format", format, sizeof format);
    sp_hdf5_close(&file);
    sp_hdf5_unlock();
    if (status != SP_OK) return status;
    /* Of a part the reader of such files says what it is. */
    if (strcmp(format, "slotpress-tokens") == 0 || strcmp(format, "slotpress-tokens-part") == 0)
        *kind = SP_FILE_TOKENS;
    else if (strcmp(format, "slotpress-slots") == 0 || strcmp(format, "slotpress-slots-part") == 0)
        *kind = SP_FILE_SLOTS;
    else
        return fail_unknown(path);
    return SP_OK;
}

/* Kinds without a magic number go by their names. */
static sp_status kind_of_name(sp_file_kind *kind, const char *path) {
    static const struct {
        const char *end;
        sp_file_kind kind;
    } names[] = {
        {".safetensors", SP_FILE_MODEL},
        {"tokenizer.json", SP_FILE_MODEL},
        {".json", SP_FILE_JSON},
        {"metrics.jsonl", SP_FILE_METRICS},
        {".yaml", SP_FILE_CONFIG},
        {".yml", SP_FILE_CONFIG},
        {".jsonl", SP_FILE_TEXT},
        {".jsonl.gz", SP_FILE_TEXT},
        {".jsonl.zst", SP_FILE_TEXT},
        {".txt", SP_FILE_TEXT},
        {".txt.gz", SP_FILE_TEXT},
        {".txt.zst", SP_FILE_TEXT},
        {".parquet", SP_FILE_TEXT},
        {".gguf", SP_FILE_MODEL}, /* without its magic number: the reader says what is wrong */
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!ends_with(path, names[i].end)) continue;
        *kind = names[i].kind;
        return SP_OK;
    }
    return fail_unknown(path);
}

static sp_status kind_of_file(sp_file_kind *kind, const char *path) {
    static const char gguf_magic[] = "GGUF";
    char begin[8] = "";
    FILE *file = fopen(path, "rb");
    if (file == NULL) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    const size_t n_bytes = fread(begin, 1, sizeof begin, file);
    const bool has_failed = ferror(file) != 0;
    fclose(file);
    if (has_failed) return sp_fail(SP_IO, "'%s': cannot be read", path);
    if (sp_hdf5_begins(begin, n_bytes)) return kind_of_hdf5(kind, path);
    if (n_bytes >= 4 && memcmp(begin, gguf_magic, 4) == 0) {
        *kind = SP_FILE_MODEL;
        return SP_OK;
    }
    return kind_of_name(kind, path);
}

sp_status sp_file_kind_of(sp_file_kind *kind, const char *path) {
    struct stat stat_of;
    if (stat(path, &stat_of) != 0) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    if (S_ISDIR(stat_of.st_mode)) return kind_of_folder(kind, path);
    /* A pipe would block, a device need not end. */
    if (!S_ISREG(stat_of.st_mode)) return sp_fail(SP_IO, "'%s': neither file nor folder", path);
    return kind_of_file(kind, path);
}
