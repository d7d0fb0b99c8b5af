#include "io/content_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

enum { READ_BYTES = 1 << 20 };

static void write_hex(char hex[SP_DIGEST_HEX_SIZE], XXH128_hash_t hash) {
    snprintf(hex, SP_DIGEST_HEX_SIZE, "%016jx%016jx", (uintmax_t)hash.high64,
             (uintmax_t)hash.low64);
}

void sp_digest_bytes(char hex[SP_DIGEST_HEX_SIZE], const void *data, size_t n_bytes) {
    write_hex(hex, XXH3_128bits(data, n_bytes));
}

sp_status sp_digest_file(char hex[SP_DIGEST_HEX_SIZE], const char *path, size_t begin) {
    XXH3_state_t *state = XXH3_createState();
    char *buffer = malloc(READ_BYTES);
    sp_status status = SP_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (state == NULL || buffer == NULL) {
        status = sp_fail(SP_FAILURE, "no memory to read '%s'", path);
        goto cleanup;
    }
    if (fd < 0) {
        status = sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
        goto cleanup;
    }
    if (lseek(fd, (off_t)begin, SEEK_SET) < 0) {
        status = sp_fail(SP_IO, "cannot read '%s': %s", path, strerror(errno));
        goto cleanup;
    }
    XXH3_128bits_reset(state);
    for (;;) {
        const ssize_t n_read = read(fd, buffer, READ_BYTES);
        if (n_read < 0 && errno == EINTR) continue;
        if (n_read < 0) {
            status = sp_fail(SP_IO, "cannot read '%s': %s", path, strerror(errno));
            goto cleanup;
        }
        if (n_read == 0) break;
        XXH3_128bits_update(state, buffer, (size_t)n_read);
    }
    write_hex(hex, XXH3_128bits_digest(state));

cleanup:
    if (fd >= 0) close(fd);
    free(buffer);
    XXH3_freeState(state);
    return status;
}
