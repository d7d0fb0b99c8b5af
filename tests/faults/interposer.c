/* What a disk and a power cut do to a process, by LD_PRELOAD: every call that changes something below
   one folder is counted, and at the k-th the process is killed, or from there on the disk is full.

       FAULT_FOLDER  the folder, as an absolute path: without it nothing is counted
       FAULT_AT      k, from 1; 0 or absent: count only
       FAULT_KIND    kill: SIGKILL in place of the call, a write having been made by half;
                     full: this call and all later ones that need room fail with ENOSPC
       FAULT_RANK    the one rank (of Open MPI) that suffers it; absent: rank 0
       FAULT_LOG     a file outside the folder, to which each call appends "NUMBER NAME PATH"

   Buffered streams write inside the C library, where nothing can be put in between, so that
   fflush() counts as the write. Threads share the count. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* The next function of that name: the C library's. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

typedef enum outcome { GO_ON, DIE, NO_ROOM } outcome;

static atomic_long n_calls;

static bool is_sufferer(void) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *wanted = getenv("FAULT_RANK");
    return atoi(rank != NULL ? rank : "0") == atoi(wanted != NULL ? wanted : "0");
}

static bool is_below(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    const size_t n = folder != NULL ? strlen(folder) : 0;
    return n > 0 && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static void note(long number, const char *name, const char *path) {
    char line[PATH_MAX + 64];
    const char *log = getenv("FAULT_LOG");
    const int n_bytes = snprintf(line, sizeof line, "%ld %s %s\n", number, name, path);
    const int fd = log != NULL ? NEXT(open)(log, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (fd < 0) return;
    if (NEXT(write)(fd, line, (size_t)n_bytes) < 0) abort();
    close(fd);
}

/* Counts a call that changes `path`, and says what is to become of it. */
static outcome count(const char *name, const char *path, bool needs_room) {
    if (!is_below(path) || !is_sufferer()) return GO_ON;
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    const long number = atomic_fetch_add(&n_calls, 1) + 1, wanted = at != NULL ? atol(at) : 0;
    note(number, name, path);
    if (wanted == 0 || number < wanted) return GO_ON;
    if (kind == NULL || strcmp(kind, "full") != 0) return number == wanted ? DIE : GO_ON;
    return needs_room ? NO_ROOM : GO_ON;
}

static _Noreturn void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* For calls that write nothing themselves; true: it fails with errno set. */
static bool fails(const char *name, const char *path, bool needs_room) {
    const outcome what = count(name, path, needs_room);
    if (what == DIE) die();
    errno = ENOSPC;
    return what == NO_ROOM;
}

/* The path behind a descriptor, or "". */
static const char *path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n_bytes = readlink(link, path, PATH_MAX - 1);
    path[n_bytes > 0 ? n_bytes : 0] = '\0';
    return path;
}

/* ---- calls that write ---- */

ssize_t write(int fd, const void *data, size_t n_bytes) {
    char path[PATH_MAX];
    const outcome what = fd > 2 ? count("write", path_of(fd, path), true) : GO_ON;
    if (what == GO_ON) return NEXT(write)(fd, data, n_bytes);
    if (what == DIE && NEXT(write)(fd, data, n_bytes / 2) >= 0) die();
    errno = ENOSPC;
    return -1;
}

ssize_t pwrite(int fd, const void *data, size_t n_bytes, off_t at) {
    char path[PATH_MAX];
    const outcome what = count("pwrite", path_of(fd, path), true);
    if (what == GO_ON) return NEXT(pwrite)(fd, data, n_bytes, at);
    if (what == DIE && NEXT(pwrite)(fd, data, n_bytes / 2, at) >= 0) die();
    errno = ENOSPC;
    return -1;
}

int fflush(FILE *file) {
    char path[PATH_MAX];
    if (file != NULL && fileno(file) > 2 && fails("fflush", path_of(fileno(file), path), true)) {
        __fpurge(file); /* or closing it would write after all */
        return EOF;
    }
    return NEXT(fflush)(file);
}

int ftruncate(int fd, off_t length) {
    char path[PATH_MAX];
    return fails("ftruncate", path_of(fd, path), false) ? -1 : NEXT(ftruncate)(fd, length);
}

int fsync(int fd) {
    char path[PATH_MAX];
    return fails("fsync", path_of(fd, path), false) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    char path[PATH_MAX];
    return fails("fsync", path_of(fd, path), false) ? -1 : NEXT(fdatasync)(fd);
}

/* ---- calls that make, name and remove ---- */

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    const bool makes = (flags & O_CREAT) != 0 && access(path, F_OK) != 0;
    return makes && fails("create", path, true) ? -1 : NEXT(open)(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    const bool makes = access(path, F_OK) != 0;
    return makes && fails("mkdir", path, true) ? -1 : NEXT(mkdir)(path, mode);
}

int rename(const char *from, const char *to) {
    return fails("rename", from, true) ? -1 : NEXT(rename)(from, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    return fails("renameat2", from, true) ? -1 : NEXT(renameat2)(from_fd, from, to_fd, to, flags);
}

int unlink(const char *path) {
    return access(path, F_OK) == 0 && fails("unlink", path, false) ? -1 : NEXT(unlink)(path);
}

int unlinkat(int fd, const char *name, int flags) {
    char folder[PATH_MAX], path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", path_of(fd, folder), name);
    return fails("unlink", path, false) ? -1 : NEXT(unlinkat)(fd, name, flags);
}

int rmdir(const char *path) { return fails("rmdir", path, false) ? -1 : NEXT(rmdir)(path); }
