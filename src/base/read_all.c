#include "base/read_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

sp_status sp_read_all(char **text, size_t *n_bytes, FILE *stream, const char *name) {
    char *data = NULL;
    size_t n = 0, capacity = 0;
    for (;;) {
        if (capacity - n < 2) {
            capacity = capacity > 0 ? 2 * capacity : 1 << 16;
            char *grown = realloc(data, capacity);
            if (grown == NULL) {
                free(data);
                return sp_fail(SP_FAILURE, "no memory for %zu bytes of %s", capacity, name);
            }
            data = grown;
        }
        const size_t got = fread(data + n, 1, capacity - n - 1, stream);
        n += got;
        if (got == 0) break;
    }
    if (ferror(stream)) {
        free(data);
        return sp_fail(SP_IO, "cannot read %s: %s", name, strerror(errno));
    }
    data[n] = '\0';
    *text = data;
    *n_bytes = n;
    return SP_OK;
}
