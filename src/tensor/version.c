#include "tensor/version.h"

#include <stdio.h>

#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>

void sp_openblas_version(char *text, size_t size) {
    const char *config = openblas_get_config(); /* begins with its name */
    const size_t name_len = sizeof "OpenBLAS " - 1;
    snprintf(text, size, "%s", config + name_len);
}

void sp_onednn_version(char *text, size_t size) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, size, "%d.%d.%d", version->major, version->minor, version->patch);
}
