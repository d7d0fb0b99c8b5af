/* A folder of a test's own, and small files in it. What fails here fails the test. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { TEMP_PATH_SIZE = 512 };

/* Creates an empty folder under $TMPDIR or /tmp. Its path is written to dir. */
void temp_folder_create(char dir[TEMP_PATH_SIZE]);

/* Removes the folder and all in it. */
void temp_folder_remove(const char *dir);

/* Writes "dir/name" to path and returns it. */
const char *temp_path(char path[TEMP_PATH_SIZE], const char *dir, const char *name);

/* A folder, and the path of a file in it that is still to be written. */
typedef struct temp_file {
    char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];
} temp_file;

/* For a test's set-up and tear-down: *state becomes a temp_file whose file has that name. */
int temp_file_set_up(void **state, const char *name);
int temp_file_tear_down(void **state);

/* Names in the folder, "." and ".." apart. */
size_t temp_count(const char *dir);

void temp_write(const char *path, const void *data, size_t n_bytes);

/* The file's bytes, owned, with a NUL behind them that is not counted. */
char *temp_read(const char *path, size_t *n_bytes);

/* From here on no file of this process grows beyond n_bytes (UINT64_MAX: lifted): writing more fails
   with EFBIG, as it fails with ENOSPC on a full disk. */
void temp_limit_files(uint64_t n_bytes);
