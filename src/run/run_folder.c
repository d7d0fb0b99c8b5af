#include "run/run_folder.h"

#include "io/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool sp_run_folder_take(const char *run_dir, const char *name) {
    char path[PATH_MAX], taken[PATH_MAX + sizeof ".taken"];
    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    snprintf(taken, sizeof taken, "%s.taken", path);
    return rename(path, taken) == 0;
}

static int is_of_run(const struct dirent *entry) {
    return strncmp(entry->d_name, "step-", 5) == 0 || strcmp(entry->d_name, "metrics.jsonl") == 0 ||
           strcmp(entry->d_name, "best") == 0;
}

/* Makes the first previous-N that is not there yet. */
static sp_status make_previous(char *path, size_t size, const char *run_dir) {
    for (int n = 1; n < 10000; n++) {
        snprintf(path, size, "%s/previous-%d", run_dir, n);
        if (mkdir(path, 0777) == 0) return SP_OK;
        if (errno != EEXIST) break;
    }
    return sp_fail(SP_IO, "cannot make '%s': %s", path, strerror(errno));
}

static sp_status move_all(const char *run_dir, struct dirent **entries, int n) {
    char previous[PATH_MAX / 2], from[PATH_MAX], to[PATH_MAX];
    SP_TRY(make_previous(previous, sizeof previous, run_dir));
    for (int i = 0; i < n; i++) {
        snprintf(from, sizeof from, "%s/%s", run_dir, entries[i]->d_name);
        snprintf(to, sizeof to, "%s/%s", previous, entries[i]->d_name);
        if (rename(from, to) != 0)
            return sp_fail(SP_IO, "cannot move '%s' to '%s': %s", from, to, strerror(errno));
    }
    return sp_sync_path(run_dir);
}

sp_status sp_run_folder_set_aside(const char *run_dir) {
    struct dirent **entries = NULL;
    const int n = scandir(run_dir, &entries, is_of_run, alphasort);
    if (n < 0) return sp_fail(SP_IO, "cannot list '%s': %s", run_dir, strerror(errno));
    const sp_status status = n > 0 ? move_all(run_dir, entries, n) : SP_OK;
    for (int i = 0; i < n; i++) free(entries[i]);
    free(entries);
    return status;
}

sp_status sp_run_folder_explain(sp_status status) {
    if (status != SP_IO) return status;
    return sp_fail(
        status,
        "%s; the run's checkpoints so far are whole: mend that (a full disk: make room), "
        "then the same command goes on from the newest",
        sp_message());
}
