#include "tests/temp_folder.h"

#include "tests/check.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

void temp_folder_create(char dir[TEMP_PATH_SIZE]) {
    const char *parent = getenv("TMPDIR");
    snprintf(dir, TEMP_PATH_SIZE, "%s/slotpress-test.XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void temp_folder_remove(const char *dir) {
    assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

const char *temp_path(char path[TEMP_PATH_SIZE], const char *dir, const char *name) {
    assert_true(snprintf(path, TEMP_PATH_SIZE, "%s/%s", dir, name) < TEMP_PATH_SIZE);
    return path;
}

int temp_file_set_up(void **state, const char *name) {
    temp_file *made = calloc(1, sizeof *made);
    if (made == NULL) return -1;
    temp_folder_create(made->dir);
    temp_path(made->path, made->dir, name);
    *state = made;
    return 0;
}

int temp_file_tear_down(void **state) {
    temp_file *made = *state;
    temp_folder_remove(made->dir);
    free(made);
    return 0;
}

size_t temp_count(const char *dir) {
    DIR *folder = opendir(dir);
    assert_non_null(folder);
    size_t n_names = 0;
    while (readdir(folder) != NULL) n_names++;
    closedir(folder);
    return n_names - 2;
}

void temp_write(const char *path, const void *data, size_t n_bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

char *temp_read(const char *path, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long length = ftell(file);
    assert_true(length >= 0);
    rewind(file);
    char *data = malloc((size_t)length + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)length, file), length);
    data[length] = '\0';
    fclose(file);
    *n_bytes = (size_t)length;
    return data;
}

void temp_limit_files(uint64_t n_bytes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, n_bytes == UINT64_MAX ? SIG_DFL : SIG_IGN);
    limit.rlim_cur = n_bytes == UINT64_MAX ? limit.rlim_max : n_bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}
