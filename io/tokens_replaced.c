#include "io/tokens_replaced.h"

#include "io/hdf5_virtual.h"
#include "io/tokens_origin.h"
#include "io/tokens_schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *after_slash(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static sp_status add_parts(sp_tokens_replaced *replaced, const sp_hdf5_parts *parts,
                           const char *output) {
    replaced->paths = calloc(parts->n + 1, sizeof *replaced->paths);
    if (replaced->paths == NULL) return sp_fail(SP_FAILURE, "no memory for %zu paths", parts->n);
    for (size_t i = 0; i < parts->n; i++) {
        const int folder = (int)(after_slash(output) - output);
        char **path = &replaced->paths[replaced->n];
        if (asprintf(path, "%.*s%s", folder, output, parts->names[i]) < 0) {
            *path = NULL;
            return sp_fail(SP_FAILURE, "no memory for a part's path");
        }
        replaced->n++;
    }
    return SP_OK;
}

sp_status sp_tokens_replaced_find(sp_tokens_replaced *replaced, const char *output) {
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    sp_hdf5_rows rows = {0};
    sp_hdf5_parts parts = {0};
    bool is_index = false;
    if (access(output, F_OK) != 0) return SP_OK;
    sp_hdf5_lock();
    /* All of an index's datasets lie in the same parts. A file that cannot be read is replaced like
       any other. */
    if (sp_hdf5_open(&file, output) != SP_OK ||
        sp_hdf5_read_virtual(&is_index, &rows, &parts, &file, SP_TOKENS_DOCUMENT_HASH, 0) != SP_OK)
        is_index = false;
    sp_hdf5_close(&file);
    sp_hdf5_unlock();
    const sp_status status = is_index ? add_parts(replaced, &parts, output) : SP_OK;
    sp_hdf5_rows_free(&rows);
    sp_hdf5_parts_free(&parts);
    return status;
}

static bool is_of_plan(const char *path, const sp_tokens_plan *plan) {
    for (size_t p = 0; plan != NULL && p < plan->n_parts; p++)
        if (strcmp(after_slash(path), after_slash(plan->parts[p].path)) == 0) return true;
    return false;
}

sp_status sp_tokens_replaced_remove(const sp_tokens_replaced *replaced,
                                    const sp_tokens_plan *plan) {
    for (size_t i = 0; i < replaced->n; i++)
        if (!is_of_plan(replaced->paths[i], plan) && unlink(replaced->paths[i]) != 0 &&
            errno != ENOENT)
            return sp_fail(SP_IO, "cannot remove '%s': %s", replaced->paths[i], strerror(errno));
    return SP_OK;
}

void sp_tokens_replaced_free(sp_tokens_replaced *replaced) {
    for (size_t i = 0; i < replaced->n; i++) free(replaced->paths[i]);
    free(replaced->paths);
    *replaced = (sp_tokens_replaced){0};
}

sp_status sp_tokens_find_done(char **summary, const char *output, const sp_tokens_job *job) {
    char wanted[SP_DIGEST_HEX_SIZE];
    sp_tokens_origin origin;
    sp_tokens_replaced parts = {0};
    *summary = NULL;
    SP_TRY(sp_tokens_job_digest(wanted, job));
    sp_tokens_origin_read(&origin, output);
    if (strcmp(origin.job_digest, wanted) != 0) return SP_OK;
    sp_status status = sp_tokens_replaced_find(&parts, output);
    bool is_whole = status == SP_OK;
    for (size_t i = 0; i < parts.n; i++) is_whole = is_whole && access(parts.paths[i], F_OK) == 0;
    if (is_whole) *summary = strdup(origin.summary);
    if (is_whole && *summary == NULL) status = sp_fail(SP_FAILURE, "no memory for a summary");
    sp_tokens_replaced_free(&parts);
    return status;
}
