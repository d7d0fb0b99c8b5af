#include "io/tokens_origin.h"

#include "io/tokens_schema.h"

#include <string.h>
#include <unistd.h>

sp_status sp_tokens_origin_make(sp_tokens_origin *origin, const sp_tokens_job *job,
                                const char *summary) {
    const size_t n = strlen(summary);
    SP_TRY(sp_tokens_job_digest(origin->job_digest, job));
    if (n >= sizeof origin->summary)
        return sp_fail(SP_FAILURE, "a summary of %zu bytes, at most %zu are kept", n,
                       sizeof origin->summary - 1);
    memcpy(origin->summary, summary, n + 1);
    return SP_OK;
}

sp_status sp_tokens_origin_write(const sp_hdf5_file *file, const sp_tokens_origin *origin) {
    if (origin->job_digest[0] == '\0') return SP_OK;
    SP_TRY(sp_hdf5_write_string(file, "/", SP_TOKENS_JOB_DIGEST, origin->job_digest));
    return sp_hdf5_write_string(file, "/", SP_TOKENS_SUMMARY, origin->summary);
}

void sp_tokens_origin_read(sp_tokens_origin *origin, const char *path) {
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    char format[64] = "";
    bool is_known = false;
    if (access(path, F_OK) == 0) {
        sp_hdf5_lock();
        is_known = sp_hdf5_open(&file, path) == SP_OK &&
                   sp_hdf5_read_string(&file, "/", "format", format, sizeof format) == SP_OK &&
                   strcmp(format, SP_TOKENS_FORMAT) == 0 &&
                   sp_hdf5_read_string(&file, "/", SP_TOKENS_JOB_DIGEST, origin->job_digest,
                                       sizeof origin->job_digest) == SP_OK &&
                   sp_hdf5_read_string(&file, "/", SP_TOKENS_SUMMARY, origin->summary,
                                       sizeof origin->summary) == SP_OK;
        sp_hdf5_close(&file);
        sp_hdf5_unlock();
    }
    if (!is_known) *origin = (sp_tokens_origin){0};
}
