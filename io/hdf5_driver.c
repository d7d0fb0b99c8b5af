#include "io/hdf5_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_ADDRESS ((haddr_t)INT64_MAX)

typedef struct driver_file {
    H5FD_t public; /* first, as HDF5 wants it */
    int fd;
    haddr_t end_allocated, end_written;
    int *write_errno; /* borrowed */
} driver_file;

/* What the access properties carry: copied by HDF5 as it is. */
typedef struct driver_info {
    int *write_errno;
} driver_info;

static H5FD_t *open_file(const char *name, unsigned flags, hid_t access, haddr_t most) {
    (void)most;
    const driver_info *info = H5Pget_driver_info(access);
    int mode = (flags & H5F_ACC_RDWR) != 0 ? O_RDWR : O_RDONLY;
    if ((flags & H5F_ACC_CREAT) != 0) mode |= O_CREAT;
    if ((flags & H5F_ACC_TRUNC) != 0) mode |= O_TRUNC;
    if ((flags & H5F_ACC_EXCL) != 0) mode |= O_EXCL;
    struct stat state;
    driver_file *file = calloc(1, sizeof *file);
    if (info == NULL || file == NULL) goto cleanup;
    file->fd = open(name, mode | O_CLOEXEC, 0666);
    if (file->fd < 0) {
        *info->write_errno = errno;
        goto cleanup;
    }
    if (fstat(file->fd, &state) != 0) {
        close(file->fd);
        goto cleanup;
    }
    file->end_written = (haddr_t)state.st_size;
    file->write_errno = info->write_errno;
    return &file->public;

cleanup:
    free(file);
    return NULL;
}

static herr_t close_file(H5FD_t *opened) {
    driver_file *file = (driver_file *)opened;
    if (close(file->fd) != 0 && *file->write_errno == 0) *file->write_errno = errno;
    free(file);
    return 0;
}

/* As the library's own driver for plain files. */
static herr_t query(const H5FD_t *opened, unsigned long *flags) {
    (void)opened;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t get_end_allocated(const H5FD_t *opened, H5FD_mem_t type) {
    (void)type;
    return ((const driver_file *)opened)->end_allocated;
}

static herr_t set_end_allocated(H5FD_t *opened, H5FD_mem_t type, haddr_t end) {
    (void)type;
    ((driver_file *)opened)->end_allocated = end;
    return 0;
}

static haddr_t get_end_written(const H5FD_t *opened, H5FD_mem_t type) {
    (void)type;
    return ((const driver_file *)opened)->end_written;
}

/* What lies beyond the file's end, or could not be written, reads as 0. */
static herr_t read_bytes(H5FD_t *opened, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                         void *out) {
    (void)type, (void)transfer;
    const driver_file *file = (const driver_file *)opened;
    for (char *to = out; size > 0;) {
        const ssize_t n_read = pread(file->fd, to, size, (off_t)at);
        if (n_read < 0 && errno == EINTR) continue;
        if (n_read < 0) return -1;
        if (n_read == 0) {
            memset(to, 0, size);
            break;
        }
        to += n_read;
        at += (haddr_t)n_read;
        size -= (size_t)n_read;
    }
    return 0;
}

static herr_t write_bytes(H5FD_t *opened, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                          const void *data) {
    (void)type, (void)transfer;
    driver_file *file = (driver_file *)opened;
    if (at + size > file->end_written) file->end_written = at + size;
    for (const char *from = data; size > 0 && *file->write_errno == 0;) {
        const ssize_t n_written = pwrite(file->fd, from, size, (off_t)at);
        if (n_written < 0 && errno == EINTR) continue;
        if (n_written < 0) {
            *file->write_errno = errno;
            break;
        }
        from += n_written;
        at += (haddr_t)n_written;
        size -= (size_t)n_written;
    }
    return 0;
}

static herr_t truncate_file(H5FD_t *opened, hid_t transfer, hbool_t closing) {
    (void)transfer, (void)closing;
    driver_file *file = (driver_file *)opened;
    if (file->end_allocated == file->end_written || *file->write_errno != 0) return 0;
    if (ftruncate(file->fd, (off_t)file->end_allocated) != 0) *file->write_errno = errno;
    file->end_written = file->end_allocated;
    return 0;
}

static const H5FD_class_t driver = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)600, /* of the range for drivers outside the library */
#endif
    .name = "slotpress",
    .maxaddr = MOST_ADDRESS,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(driver_info),
    .open = open_file,
    .close = close_file,
    .query = query,
    .get_eoa = get_end_allocated,
    .set_eoa = set_end_allocated,
    .get_eof = get_end_written,
    .read = read_bytes,
    .write = write_bytes,
    .truncate = truncate_file,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

sp_status sp_hdf5_use_driver(hid_t access, int *write_errno) {
    static hid_t registered = H5I_INVALID_HID; /* once a process, under the lock */
    if (registered < 0) registered = H5FDregister(&driver);
    const driver_info info = {write_errno};
    if (registered < 0 || H5Pset_driver(access, registered, &info) < 0)
        return sp_fail(SP_FAILURE, "HDF5 does not take our file driver");
    return SP_OK;
}
