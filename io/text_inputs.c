#include "io/text_inputs.h"

#include "io/text_reader.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_DEPTH = 64 }; /* of folders: links may lead in a circle */

static sp_status no_memory(const char *path) {
    return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
}

static sp_status add(sp_text_inputs *inputs, const char *path) {
    if ((inputs->n & (inputs->n - 1)) == 0) { /* full: capacities are powers of 2 */
        const size_t capacity = inputs->n == 0 ? 1 : 2 * inputs->n;
        char **larger = realloc(inputs->paths, capacity * sizeof *larger);
        if (larger == NULL) return no_memory(path);
        inputs->paths = larger;
    }
    char *copy = strdup(path);
    if (copy == NULL) return no_memory(path);
    inputs->paths[inputs->n++] = copy;
    return SP_OK;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static sp_status add_folder(sp_text_inputs *inputs, const char *path, int depth);

static sp_status add_entry(sp_text_inputs *inputs, const char *path, int depth) {
    struct stat info;
    if (stat(path, &info) != 0)
        return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return add_folder(inputs, path, depth + 1);
    if (S_ISREG(info.st_mode) && sp_text_has_known_name(path)) return add(inputs, path);
    inputs->n_passed_by++;
    return SP_OK;
}

static sp_status add_folder(sp_text_inputs *inputs, const char *path, int depth) {
    struct dirent **entries = NULL;
    if (depth > MOST_DEPTH)
        return sp_fail(SP_IO, "'%s': more than %d folders deep; a link in a circle?", path,
                       (int)MOST_DEPTH);
    const int n = scandir(path, &entries, is_visible, by_bytes);
    if (n < 0) return sp_fail(SP_IO, "cannot read the folder '%s': %s", path, strerror(errno));
    const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
    sp_status status = SP_OK;
    for (int i = 0; i < n; i++) {
        char *entry_path = NULL;
        if (status == SP_OK && asprintf(&entry_path, "%s%s%s", path, slash, entries[i]->d_name) < 0)
            status = no_memory(path);
        else if (status == SP_OK)
            status = add_entry(inputs, entry_path, depth);
        free(entry_path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* What is there, a file or a folder. */
static sp_status add_path(sp_text_inputs *inputs, const char *path, const struct stat *info) {
    if (!S_ISDIR(info->st_mode)) return add(inputs, path);
    const size_t n_before = inputs->n;
    SP_TRY(add_folder(inputs, path, 0));
    if (inputs->n > n_before) return SP_OK;
    return sp_fail(SP_IO, "the folder '%s' holds no .parquet, .jsonl or .txt file", path);
}

static sp_status add_matches(sp_text_inputs *inputs, const char *pattern) {
    glob_t matches;
    const int result = glob(pattern, 0, NULL, &matches); /* sorted; the locale is C's */
    if (result == GLOB_NOSPACE) return no_memory(pattern);
    if (result != 0) return sp_fail(SP_IO, "nothing matches '%s'", pattern);
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < matches.gl_pathc; i++) {
        struct stat info;
        status = stat(matches.gl_pathv[i], &info) == 0
                     ? add_path(inputs, matches.gl_pathv[i], &info)
                     : sp_fail(SP_IO, "cannot open '%s': %s", matches.gl_pathv[i], strerror(errno));
    }
    globfree(&matches);
    return status;
}

static sp_status add_name(sp_text_inputs *inputs, const char *name) {
    struct stat info;
    if (stat(name, &info) == 0) return add_path(inputs, name, &info);
    if (errno == ENOENT && strpbrk(name, "*?[") != NULL) return add_matches(inputs, name);
    return sp_fail(SP_IO, "cannot open '%s': %s", name, strerror(errno));
}

sp_status sp_text_inputs_expand(sp_text_inputs *inputs, const char *const *names, size_t n_names) {
    sp_text_inputs made = {0};
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < n_names; i++) status = add_name(&made, names[i]);
    if (status == SP_OK)
        *inputs = made;
    else
        sp_text_inputs_free(&made);
    return status;
}

void sp_text_inputs_free(sp_text_inputs *inputs) {
    for (size_t i = 0; i < inputs->n; i++) free(inputs->paths[i]);
    free(inputs->paths);
    *inputs = (sp_text_inputs){0};
}
