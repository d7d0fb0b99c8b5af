#include "tests/fuzz/input_file.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_input_file(const uint8_t *data, size_t n_bytes) {
    static char path[32];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, (off_t)n_bytes) != 0 ||
        pwrite(fd, data, n_bytes, 0) != (ssize_t)n_bytes) {
        perror("a file in memory");
        abort();
    }
    return path;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

static void remove_folder(void) { nftw(fuzz_folder(), remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

const char *fuzz_folder(void) {
    static char folder[4096];
    if (folder[0] != '\0') return folder;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/slotpress-fuzz-XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        abort();
    }
    atexit(remove_folder);
    return folder;
}

const char *fuzz_input_named(const char *extension, const uint8_t *data, size_t n_bytes) {
    static char path[4200];
    const char *target = fuzz_input_file(data, n_bytes);
    snprintf(path, sizeof path, "%s/input%s", fuzz_folder(), extension);
    if (symlink(target, path) != 0 && errno != EEXIST) {
        perror(path);
        abort();
    }
    return path;
}
