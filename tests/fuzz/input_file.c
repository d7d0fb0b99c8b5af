#include "tests/fuzz/input_file.h"

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
