#include "io/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static sp_status map_open_file(sp_mapping *mapping, int fd, const char *path) {
    struct stat info;
    if (fstat(fd, &info) != 0)
        return sp_fail(SP_IO, "'%s': cannot stat: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return sp_fail(SP_BAD_DATA, "'%s': not a regular file", path);
    const size_t n_bytes = (size_t)info.st_size; /* never negative, and both have 64 bits */
    if (n_bytes == 0) {
        *mapping = (sp_mapping){0};
        return SP_OK;
    }
    void *data = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return sp_fail(SP_IO, "'%s': cannot map %zu bytes: %s", path, n_bytes, strerror(errno));
    *mapping = (sp_mapping){.data = data, .n_bytes = n_bytes};
    return SP_OK;
}

sp_status sp_mapping_open(sp_mapping *mapping, const char *path) {
    /* Without O_NONBLOCK the open of a named pipe would wait for a writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return sp_fail(SP_IO, "'%s': cannot open: %s", path, strerror(errno));
    const sp_status status = map_open_file(mapping, fd, path);
    close(fd); /* the mapping stays */
    return status;
}

void sp_mapping_close(sp_mapping *mapping) {
    if (mapping->data != NULL) munmap((void *)mapping->data, mapping->n_bytes);
    *mapping = (sp_mapping){0};
}

void sp_mapping_give_back(const sp_mapping *mapping) {
    if (mapping->data != NULL)
        (void)madvise((void *)mapping->data, mapping->n_bytes, MADV_DONTNEED);
}
