#include "io/run_lock.h"

#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* What the holder wrote into the file: one line, "pid 123 on node7". */
enum { HOLDER_SIZE = 300 };

static sp_status refuse(int fd, const char *dir) {
    char holder[HOLDER_SIZE];
    const ssize_t n_read = pread(fd, holder, HOLDER_SIZE - 1, 0);
    holder[n_read > 0 ? n_read : 0] = '\0';
    for (char *at = holder; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 127) *at = '\0'; /* one printable line */
    return sp_fail(SP_FAILURE, "another run holds '%s' (%s)", dir,
                   holder[0] != '\0' ? holder : "pid unknown");
}

static sp_status write_holder(int fd, const char *path) {
    char host[256] = "", holder[HOLDER_SIZE];
    gethostname(host, sizeof host - 1);
    const int n_bytes = snprintf(holder, sizeof holder, "pid %ld on %s\n", (long)getpid(), host);
    if (ftruncate(fd, 0) != 0)
        return sp_fail(SP_IO, "cannot write '%s': %s", path, strerror(errno));
    return sp_write_all(fd, holder, (size_t)n_bytes, path);
}

sp_status sp_run_lock_acquire(sp_run_lock *lock, const char *dir) {
    char *path = NULL;
    if (asprintf(&path, "%s/lock", dir) < 0)
        return sp_fail(SP_FAILURE, "no memory for the path '%s/lock'", dir);
    sp_status status = SP_OK;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = sp_fail(SP_IO, "cannot create '%s': %s", path, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK
                     ? refuse(fd, dir)
                     : sp_fail(SP_IO, "cannot lock '%s': %s", path, strerror(errno));
    } else {
        status = write_holder(fd, path);
    }
    if (status == SP_OK)
        *lock = (sp_run_lock){.is_held = true, .fd = fd};
    else if (fd >= 0)
        close(fd);
    free(path);
    return status;
}

void sp_run_lock_release(sp_run_lock *lock) {
    if (lock->is_held) close(lock->fd);
    *lock = (sp_run_lock){0};
}
