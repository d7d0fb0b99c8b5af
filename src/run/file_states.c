#include "run/file_states.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

sp_status sp_file_state_print(FILE *out, const char *path, const char *name) {
    struct stat info;
    if (stat(path, &info) != 0) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    fprintf(out, "%s %jd %jd.%09ld\n", name, (intmax_t)info.st_size, (intmax_t)info.st_mtime,
            info.st_mtim.tv_nsec);
    return SP_OK;
}

static int is_of_model(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && (strcmp(dot, ".json") == 0 || strcmp(dot, ".safetensors") == 0);
}

sp_status sp_model_state_print(FILE *out, const char *model) {
    struct dirent **entries = NULL;
    const int n = scandir(model, &entries, is_of_model, alphasort);
    if (n < 0) return sp_file_state_print(out, model, "model");
    sp_status status = SP_OK;
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", model, entries[i]->d_name) < 0) path = NULL;
        if (status == SP_OK)
            status = path != NULL ? sp_file_state_print(out, path, entries[i]->d_name)
                                  : sp_fail(SP_FAILURE, "no memory for a path in '%s'", model);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return status;
}
