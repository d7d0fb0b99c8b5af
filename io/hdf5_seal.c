#include "io/hdf5_seal.h"

#include "io/content_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char hdf5_magic[] = "\x89HDF\r\n\x1a\n";
static const char seal_magic[] = "slotpress: XXH3-128 of what follows byte 512\n";

enum { MAGIC_BYTES = 8 }; /* of HDF5's; enough of the seal's */

bool sp_hdf5_begins(const char *begin, size_t n) {
    return n >= MAGIC_BYTES && (memcmp(begin, hdf5_magic, MAGIC_BYTES) == 0 ||
                                memcmp(begin, seal_magic, MAGIC_BYTES) == 0);
}

static sp_status make_seal(char seal[SP_HDF5_SEAL_BYTES], const char *path) {
    char hex[SP_DIGEST_HEX_SIZE];
    SP_TRY(sp_digest_file(hex, path, SP_HDF5_SEAL_BYTES));
    memset(seal, 0, SP_HDF5_SEAL_BYTES);
    snprintf(seal, SP_HDF5_SEAL_BYTES, "%s%s\n", seal_magic, hex);
    return SP_OK;
}

static sp_status fail(const char *verb, const char *path) {
    return sp_fail(SP_IO, "cannot %s '%s': %s", verb, path, strerror(errno));
}

sp_status sp_hdf5_seal(const char *temp_path, const char *path) {
    char seal[SP_HDF5_SEAL_BYTES];
    SP_TRY(make_seal(seal, temp_path));
    const int fd = open(temp_path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail("open", path);
    const ssize_t n_written = pwrite(fd, seal, sizeof seal, 0);
    sp_status status = n_written < 0 ? fail("write", path) : SP_OK;
    if (n_written >= 0 && (size_t)n_written < sizeof seal)
        status = sp_fail(SP_IO, "cannot write '%s': no room left", path);
    if (close(fd) != 0 && status == SP_OK) status = fail("write", path);
    return status;
}

/* As many of the file's first bytes as there are: *n. */
static sp_status read_begin(char begin[SP_HDF5_SEAL_BYTES], ssize_t *n, const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail("open", path);
    *n = pread(fd, begin, SP_HDF5_SEAL_BYTES, 0);
    const sp_status status = *n < 0 ? fail("read", path) : SP_OK;
    close(fd);
    return status;
}

sp_status sp_hdf5_check_seal(bool *is_sealed, const char *path) {
    char begin[SP_HDF5_SEAL_BYTES], seal[SP_HDF5_SEAL_BYTES];
    ssize_t n = 0;
    SP_TRY(read_begin(begin, &n, path));
    *is_sealed = false;
    if (!sp_hdf5_begins(begin, (size_t)n))
        return sp_fail(SP_BAD_DATA, "'%s': not an HDF5 file, or its first bytes are damaged", path);
    if (memcmp(begin, hdf5_magic, MAGIC_BYTES) == 0) return SP_OK;
    SP_TRY(make_seal(seal, path));
    if (n < (ssize_t)sizeof begin || memcmp(begin, seal, sizeof seal) != 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s': damaged: its checksum is another one; write it anew, its parts are "
                       "kept",
                       path);
    *is_sealed = true;
    return SP_OK;
}
