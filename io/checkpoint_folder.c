#include "io/checkpoint_folder.h"

#include "base/log.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char temp_end[] = ".tmp";

sp_status sp_checkpoint_folder(char **path, const char *run_dir, uint64_t step,
                               bool in_the_making) {
    if (asprintf(path, "%s/step-%07ju%s", run_dir, (uintmax_t)step,
                 in_the_making ? temp_end : "") >= 0)
        return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path in '%s'", run_dir);
}

bool sp_is_step_folder(const char *dir) {
    char *path = NULL;
    if (asprintf(&path, "%s/" SP_MANIFEST_NAME, dir) < 0) return false;
    const bool has_manifest = access(path, F_OK) == 0;
    free(path);
    return has_manifest;
}

/* step-0001200, with what follows the digits in *end; false for any other name. */
static bool parse_name(const char *name, uint64_t *step, const char **end) {
    char spelled[32];
    if (strncmp(name, "step-", 5) != 0 || strspn(name + 5, "0123456789") < 7) return false;
    errno = 0;
    *step = strtoumax(name + 5, (char **)end, 10);
    if (errno != 0) return false;
    /* As we would spell it: a folder that cannot be named again is not ours. */
    snprintf(spelled, sizeof spelled, "step-%07ju", (uintmax_t)*step);
    return strncmp(name, spelled, (size_t)(*end - name)) == 0;
}

static int newest_first(const void *a, const void *b) {
    const uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;
    return (first < second) - (first > second);
}

static sp_status open_folder(DIR **folder, const char *run_dir) {
    *folder = opendir(run_dir);
    if (*folder == NULL && errno != ENOENT)
        return sp_fail(SP_IO, "cannot open '%s': %s", run_dir, strerror(errno));
    return SP_OK;
}

sp_status sp_checkpoint_list(uint64_t **steps, size_t *n, const char *run_dir) {
    DIR *folder = NULL;
    uint64_t *list = NULL, step = 0;
    size_t n_listed = 0, capacity = 0;
    SP_TRY(open_folder(&folder, run_dir));
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        const char *end = NULL;
        if (!parse_name(entry->d_name, &step, &end) || *end != '\0') continue;
        if (n_listed == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 16;
            uint64_t *larger = realloc(list, capacity * sizeof *list);
            if (larger == NULL) {
                closedir(folder);
                free(list);
                return sp_fail(SP_FAILURE, "no memory to list '%s'", run_dir);
            }
            list = larger;
        }
        list[n_listed++] = step;
    }
    if (folder != NULL) closedir(folder);
    if (n_listed > 0) qsort(list, n_listed, sizeof *list, newest_first);
    *steps = list;
    *n = n_listed;
    return SP_OK;
}

/* Puts temp_path in the place of path, which exists; the old one gets the temporary name. */
static sp_status exchange(const char *temp_path, const char *path) {
    if (renameat2(AT_FDCWD, temp_path, AT_FDCWD, path, RENAME_EXCHANGE) == 0) return SP_OK;
    /* Not every file system can exchange. Between removal and renaming the step has no folder,
       but its successor lies complete beside, and the step before it is still there. */
    SP_TRY(sp_remove_folder(path));
    if (rename(temp_path, path) == 0) return SP_OK;
    return sp_fail(SP_IO, "cannot rename '%s': %s", temp_path, strerror(errno));
}

sp_status sp_checkpoint_put_in_place(const char *run_dir, uint64_t step) {
    char *path = NULL, *temp_path = NULL;
    sp_status status = sp_checkpoint_folder(&path, run_dir, step, false);
    if (status == SP_OK) status = sp_checkpoint_folder(&temp_path, run_dir, step, true);
    if (status == SP_OK) status = sp_sync_path(temp_path);
    if (status == SP_OK && rename(temp_path, path) != 0)
        status = errno == ENOTEMPTY || errno == EEXIST
                     ? exchange(temp_path, path)
                     : sp_fail(SP_IO, "cannot rename '%s': %s", temp_path, strerror(errno));
    if (status == SP_OK) status = sp_sync_path(run_dir);
    if (status == SP_OK) status = sp_remove_folder(temp_path); /* the one that was replaced */
    free(temp_path);
    free(path);
    return status;
}

sp_status sp_checkpoint_sweep(const char *run_dir) {
    DIR *folder = NULL;
    SP_TRY(open_folder(&folder, run_dir));
    sp_status status = SP_OK;
    for (const struct dirent *entry;
         status == SP_OK && folder != NULL && (entry = readdir(folder)) != NULL;) {
        uint64_t step = 0;
        const char *end = NULL;
        char *path = NULL;
        if (!parse_name(entry->d_name, &step, &end) || strcmp(end, temp_end) != 0) continue;
        status = sp_checkpoint_folder(&path, run_dir, step, true);
        if (status == SP_OK) status = sp_remove_folder(path);
        free(path);
    }
    if (folder != NULL) closedir(folder);
    return status;
}

/* ---- public ---- */

static bool is_complete(const char *run_dir, uint64_t step) {
    char *path = NULL;
    json_t *manifest = NULL;
    const bool is_read = sp_checkpoint_folder(&path, run_dir, step, false) == SP_OK &&
                         sp_manifest_read(&manifest, path) == SP_OK;
    json_decref(manifest);
    free(path);
    return is_read;
}

static sp_status remove_step(const char *run_dir, uint64_t step) {
    char *path = NULL, *temp_path = NULL;
    sp_status status = sp_checkpoint_folder(&path, run_dir, step, false);
    if (status == SP_OK) status = sp_checkpoint_folder(&temp_path, run_dir, step, true);
    /* First its name, so that what is removed by half is no checkpoint, and is swept later. */
    if (status == SP_OK && rename(path, temp_path) != 0)
        status = sp_fail(SP_IO, "cannot rename '%s': %s", path, strerror(errno));
    if (status == SP_OK) status = sp_remove_folder(temp_path);
    free(temp_path);
    free(path);
    return status;
}

sp_status sp_checkpoint_prune(const char *run_dir, size_t keep, uint64_t major_every) {
    uint64_t *steps = NULL;
    size_t n_steps = 0, n_kept = 0;
    SP_TRY(sp_checkpoint_sweep(run_dir));
    SP_TRY(sp_checkpoint_list(&steps, &n_steps, run_dir));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n_steps && status == SP_OK; i++) {
        const bool is_major = major_every > 0 && steps[i] > 0 && steps[i] % major_every == 0;
        if (!is_complete(run_dir, steps[i])) continue;
        if (n_kept < keep || n_kept == 0)
            n_kept++;
        else if (!is_major)
            status = remove_step(run_dir, steps[i]);
    }
    free(steps);
    return status;
}

static sp_status check_step_folder(const char *dir) {
    json_t *manifest = NULL;
    const sp_status status = sp_manifest_read(&manifest, dir);
    json_decref(manifest);
    return status;
}

sp_status sp_checkpoint_find(const char *dir, char **path) {
    *path = NULL;
    if (sp_is_step_folder(dir)) {
        SP_TRY(check_step_folder(dir));
        *path = strdup(dir);
        return *path != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for the path '%s'", dir);
    }
    uint64_t *steps = NULL;
    size_t n_steps = 0;
    SP_TRY(sp_checkpoint_list(&steps, &n_steps, dir));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n_steps && status == SP_OK && *path == NULL; i++) {
        char *found = NULL;
        status = sp_checkpoint_folder(&found, dir, steps[i], false);
        if (status == SP_OK && check_step_folder(found) == SP_OK) {
            *path = found;
            found = NULL;
        } else if (status == SP_OK) {
            sp_log(SP_LOG_WARNING, "passing over '%s': %s", found, sp_message());
        }
        free(found);
    }
    free(steps);
    return status;
}
