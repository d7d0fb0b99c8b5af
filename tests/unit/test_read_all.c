#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/read_all.h"

#include <stdlib.h>

static char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(path, dir, "text");
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

/* Writes n_bytes that differ, NULs included. */
static char *write_bytes(size_t n_bytes) {
    char *bytes = malloc(n_bytes + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (char)(i * 31 + i / 256);
    temp_write(path, bytes, n_bytes);
    return bytes;
}

static void assert_read(FILE *stream, const char *bytes, size_t n_bytes) {
    char *text = NULL;
    size_t n_read = 99;
    assert_non_null(stream);
    assert_int_equal(sp_read_all(&text, &n_read, stream, "a stream"), SP_OK);
    assert_int_equal(n_read, n_bytes);
    assert_memory_equal(text, bytes, n_bytes);
    assert_int_equal(text[n_bytes], '\0');
    free(text);
}

/* Around the sizes at which the buffer grows. */
static void any_size_is_read_whole(void **state) {
    static const size_t sizes[] = {0, 1, 4096, 65534, 65535, 65536, 65537, 131071, 131072, 1000003};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *bytes = write_bytes(sizes[i]);
        FILE *file = fopen(path, "rb");
        assert_read(file, bytes, sizes[i]);
        fclose(file);
        free(bytes);
    }
}

static void reading_starts_where_the_stream_is(void **state) {
    char *bytes = write_bytes(70000);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (int i = 0; i < 7; i++) assert_int_equal(fgetc(file), (unsigned char)bytes[i]);
    assert_read(file, bytes + 7, 70000 - 7);
    assert_read(file, "", 0); /* and again at its end */
    fclose(file);
    free(bytes);
}

/* A pipe gives what it has, in pieces of any size, and has no length. */
static void a_pipe_is_read_to_its_end(void **state) {
    FILE *pipe = popen("for i in 1 2 3 4; do printf '%s' $i$i$i; sleep 0.02; done", "r");
    assert_read(pipe, "111222333444", 12);
    assert_int_equal(pclose(pipe), 0);
}

static void a_failing_read_names_the_stream(void **state) {
    char *text = NULL;
    size_t n_bytes = 99;
    FILE *folder = fopen(dir, "r"); /* opens, but does not read */
    assert_non_null(folder);
    assert_int_equal(sp_read_all(&text, &n_bytes, folder, "standard input"), SP_IO);
    assert_non_null(strstr(sp_message(), "standard input"));
    assert_null(text);
    assert_int_equal(n_bytes, 99);
    fclose(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_size_is_read_whole),
        cmocka_unit_test(reading_starts_where_the_stream_is),
        cmocka_unit_test(a_pipe_is_read_to_its_end),
        cmocka_unit_test(a_failing_read_names_the_stream),
    };
    return cmocka_run_group_tests_name("read_all", tests, create_folder, remove_folder);
}
