#include "io/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

sp_status sp_write_all(int fd, const void *data, size_t n_bytes, const char *path) {
    for (const char *at = data; n_bytes > 0;) {
        const ssize_t n_written = write(fd, at, n_bytes);
        if (n_written < 0 && errno == EINTR) continue;
        if (n_written < 0) return sp_fail(SP_IO, "cannot write '%s': %s", path, strerror(errno));
        at += n_written;
        n_bytes -= (size_t)n_written;
    }
    return SP_OK;
}

sp_status sp_sync_path(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    sp_status status = SP_OK;
    /* Some file systems cannot sync a folder and say so with EINVAL: nothing is to be done then. */
    if (fsync(fd) != 0 && errno != EINVAL)
        status = sp_fail(SP_IO, "cannot sync '%s': %s", path, strerror(errno));
    close(fd);
    return status;
}

static sp_status sync_folder_of(const char *path) {
    char *copy = strdup(path);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    const sp_status status = sp_sync_path(dirname(copy));
    free(copy);
    return status;
}

/* A rename would replace a device or fail on a folder only after all the work. */
static sp_status check_replaceable(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return SP_OK;
    if (S_ISDIR(info.st_mode)) return sp_fail(SP_IO, "cannot write '%s': is a directory", path);
    if (!S_ISREG(info.st_mode))
        return sp_fail(SP_IO, "cannot write '%s': not a regular file", path);
    return SP_OK;
}

/* True if the descriptor's file still has that name: the writer that held the lock before may have
   renamed or removed it. */
static bool is_file_at(int fd, const char *path) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

static sp_status open_locked(int *fd, const char *temp_path, const char *path) {
    for (;;) {
        const int opened = open(temp_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (opened < 0) return sp_fail(SP_IO, "cannot create '%s': %s", temp_path, strerror(errno));
        if (flock(opened, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(opened);
            return sp_fail(SP_FAILURE, "another process is writing '%s'", path);
        }
        if (is_file_at(opened, temp_path)) {
            *fd = opened;
            return SP_OK;
        }
        close(opened);
    }
}

sp_status sp_atomic_begin(sp_atomic_file *file, const char *path) {
    SP_TRY(check_replaceable(path));
    char *final_path = strdup(path), *temp_path = NULL;
    if (final_path == NULL || asprintf(&temp_path, "%s.tmp", path) < 0) {
        free(final_path);
        return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    }
    int fd = -1;
    sp_status status = open_locked(&fd, temp_path, path);
    if (status != SP_OK) goto cleanup;
    if (ftruncate(fd, 0) != 0) {
        status = sp_fail(SP_IO, "cannot empty '%s': %s", temp_path, strerror(errno));
        goto cleanup;
    }
    *file = (sp_atomic_file){.path = final_path, .temp_path = temp_path, .fd = fd};
    return SP_OK;

cleanup:
    if (fd >= 0) close(fd);
    free(temp_path);
    free(final_path);
    return status;
}

static void release(sp_atomic_file *file) {
    close(file->fd);
    free(file->temp_path);
    free(file->path);
    *file = (sp_atomic_file){0};
}

sp_status sp_atomic_commit(sp_atomic_file *file) {
    sp_status status = SP_OK;
    if (fsync(file->fd) != 0)
        status = sp_fail(SP_IO, "cannot sync '%s': %s", file->temp_path, strerror(errno));
    else if (rename(file->temp_path, file->path) != 0)
        status = sp_fail(SP_IO, "cannot rename '%s' to '%s': %s", file->temp_path, file->path,
                         strerror(errno));
    if (status != SP_OK) {
        sp_atomic_abort(file);
        return status;
    }
    status = sync_folder_of(file->path);
    release(file);
    return status;
}

void sp_atomic_abort(sp_atomic_file *file) {
    if (file->path == NULL) return;
    unlink(file->temp_path);
    release(file);
}

sp_status sp_atomic_write(const char *path, const void *data, size_t n_bytes) {
    sp_atomic_file file = {0};
    SP_TRY(sp_atomic_begin(&file, path));
    const sp_status status = sp_write_all(file.fd, data, n_bytes, path);
    if (status != SP_OK) {
        sp_atomic_abort(&file);
        return status;
    }
    return sp_atomic_commit(&file);
}

sp_status sp_make_folders(const char *path) {
    char *copy = strdup(path);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    sp_status status = SP_OK;
    for (char *slash = copy; status == SP_OK && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL) *slash = '\0';
        struct stat info;
        const int error = mkdir(copy, 0777) == 0 ? 0 : errno;
        if (error != 0 && (stat(copy, &info) != 0 || !S_ISDIR(info.st_mode)))
            status = sp_fail(SP_IO, "cannot create the folder '%s': %s", copy, strerror(error));
        if (slash != NULL) *slash = '/';
    }
    free(copy);
    return status;
}

/* Removes it and returns 0, or the errno of what could not be done. */
static int remove_folder(const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) return errno == ENOENT ? 0 : errno;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(folder), entry->d_name, 0); /* what stays makes rmdir() fail */
    closedir(folder);
    return rmdir(path) == 0 ? 0 : errno;
}

sp_status sp_remove_folder(const char *path) {
    const int error = remove_folder(path);
    return error == 0 ? SP_OK : sp_fail(SP_IO, "cannot remove '%s': %s", path, strerror(error));
}

void sp_discard_folder(const char *path) { remove_folder(path); }
