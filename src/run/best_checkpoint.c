#include "run/best_checkpoint.h"

#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/checkpoint_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Losses of one state differ by less on different grids, and less is no progress. */
static const double least_gain = 1e-5;

bool sp_best_is_kept(const sp_run_config *config) {
    return sp_run_config_is_of_tasks(config) || config->train.early_stop > 0;
}

bool sp_best_note(sp_best *best, uint64_t step, double loss) {
    if (isfinite(loss) && (!best->has || loss < best->loss * (1 - least_gain))) {
        *best = (sp_best){.has = true, .loss = loss, .step = step};
        return true;
    }
    best->n_since++;
    return false;
}

bool sp_best_ends(const sp_best *best, const sp_run_config *config) {
    return config->train.early_stop > 0 && best->n_since >= config->train.early_stop;
}

sp_status sp_best_to_json(json_t **object, const sp_best *best) {
    *object = best->has
                  ? json_pack("{s:f, s:I, s:I}", "loss", best->loss, "step", (json_int_t)best->step,
                              "validations_since", (json_int_t)best->n_since)
                  : json_pack("{s:I}", "validations_since", (json_int_t)best->n_since);
    return *object != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for the state of a run");
}

sp_status sp_best_from_json(sp_best *best, const json_t *object, const char *where) {
    size_t step = 0, n_since = 0;
    double loss = 0;
    if (object != NULL && !json_is_object(object))
        return sp_fail(SP_BAD_DATA, "'%s': the best step is not an object", where);
    SP_TRY(sp_json_get_double(&loss, object, "loss", where));
    SP_TRY(sp_json_get_size(&step, object, "step", where));
    SP_TRY(sp_json_get_size(&n_since, object, "validations_since", where));
    *best = (sp_best){.has = json_object_get(object, "loss") != NULL,
                      .loss = loss,
                      .step = step,
                      .n_since = n_since};
    return SP_OK;
}

/* ---- files ---- */

static sp_status copy_bytes(int to, int from, const char *path) {
    char buffer[1 << 16];
    ssize_t n = 0;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        SP_TRY(sp_write_all(to, buffer, (size_t)n, path));
    if (n < 0) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    return fsync(to) == 0 ? SP_OK : sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
}

static sp_status copy_file(const char *to, const char *from) {
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return sp_fail(SP_IO, "'%s': %s", from, strerror(errno));
    const int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    sp_status status = out >= 0 ? copy_bytes(out, in, to)
                                : sp_fail(SP_IO, "cannot make '%s': %s", to, strerror(errno));
    if (out >= 0 && close(out) != 0 && status == SP_OK)
        status = sp_fail(SP_IO, "'%s': %s", to, strerror(errno));
    close(in); /* was only read */
    return status;
}

static sp_status take_file(const char *to_dir, const char *from_dir, const char *name) {
    char *to = NULL, *from = NULL;
    sp_status status = SP_OK;
    if (asprintf(&to, "%s/%s", to_dir, name) < 0) to = NULL;
    if (asprintf(&from, "%s/%s", from_dir, name) < 0) from = NULL;
    if (to == NULL || from == NULL)
        status = sp_fail(SP_FAILURE, "no memory for a path in '%s'", to_dir);
    else if (link(from, to) != 0)
        status = copy_file(to, from);
    free(from);
    free(to);
    return status;
}

static sp_status take_files(const char *to_dir, const char *from_dir) {
    DIR *folder = opendir(from_dir);
    if (folder == NULL) return sp_fail(SP_IO, "cannot open '%s': %s", from_dir, strerror(errno));
    sp_status status = SP_OK;
    for (const struct dirent *entry; status == SP_OK && (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.') status = take_file(to_dir, from_dir, entry->d_name);
    closedir(folder);
    return status;
}

/* The manifest is among the files, so that a folder in the making is none before it has its name. */
static sp_status keep(const char *best_dir, const char *run_dir, uint64_t step) {
    char *from = NULL, *to = NULL;
    sp_status status = sp_checkpoint_make_folder(best_dir, step);
    if (status == SP_OK) status = sp_checkpoint_folder(&to, best_dir, step, true);
    if (status == SP_OK) status = sp_checkpoint_folder(&from, run_dir, step, false);
    if (status == SP_OK) status = take_files(to, from);
    if (status == SP_OK) status = sp_checkpoint_put_in_place(best_dir, step);
    if (status != SP_OK) sp_checkpoint_discard(best_dir, step);
    free(from);
    free(to);
    return status;
}

static sp_status remove_but(const char *best_dir, const sp_best *best, bool *has) {
    uint64_t *steps = NULL;
    size_t n = 0;
    *has = false;
    SP_TRY(sp_checkpoint_list(&steps, &n, best_dir));
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < n; i++) {
        char *path = NULL;
        const bool is_best = best->has && steps[i] == best->step;
        *has = *has || is_best;
        if (is_best) continue;
        status = sp_checkpoint_folder(&path, best_dir, steps[i], false);
        if (status == SP_OK) status = sp_remove_folder(path);
        free(path);
    }
    free(steps);
    return status == SP_OK && n > 0 ? sp_checkpoint_sweep(best_dir) : status;
}

static sp_status make_path(char **path, const char *run_dir) {
    if (asprintf(path, "%s/best", run_dir) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path in '%s'", run_dir);
}

sp_status sp_best_keep(const char *run_dir, uint64_t step) {
    char *best_dir = NULL;
    bool has = false;
    SP_TRY(make_path(&best_dir, run_dir));
    sp_status status = keep(best_dir, run_dir, step);
    if (status == SP_OK) status = remove_but(best_dir, &(sp_best){.has = true, .step = step}, &has);
    free(best_dir);
    return status;
}

sp_status sp_best_resume(sp_best *best, const char *run_dir, uint64_t step) {
    char *best_dir = NULL;
    bool has = false;
    SP_TRY(make_path(&best_dir, run_dir));
    sp_status status = remove_but(best_dir, best, &has);
    if (status == SP_OK && !has && best->has && best->step == step)
        status = sp_best_keep(run_dir, step);
    else if (status == SP_OK && !has)
        *best = (sp_best){0};
    free(best_dir);
    return status;
}
