#include "tests/text_shard.h"

#include "tests/check.h"
#include "tests/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

static char folder[TEMP_PATH_SIZE];

int shard_set_up(void **state) {
    temp_folder_create(folder);
    return 0;
}

int shard_tear_down(void **state) {
    temp_folder_remove(folder);
    return 0;
}

const char *shard_folder(void) { return folder; }

const char *shard_put(const char *name, const void *data, size_t n_bytes) {
    static char path[TEMP_PATH_SIZE];
    temp_write(temp_path(path, folder, name), data, n_bytes);
    return path;
}

const char *shard_put_text(const char *name, const char *text) {
    return shard_put(name, text, strlen(text));
}

/* Writes "own id|has it one?|text\n" for each document that the reader has left. */
static sp_status append_rest(FILE *out, sp_text_reader *reader, size_t *n_documents) {
    for (;;) {
        sp_document document;
        bool end = false;
        SP_TRY(sp_text_reader_next(reader, &document, &end));
        if (end) return SP_OK;
        ++*n_documents;
        fprintf(out, "%s|%d|", document.has_own_id ? document.id : "", document.has_own_id);
        fwrite(document.text, 1, document.n_bytes, out);
        fputc('\n', out);
    }
}

sp_status shard_read_all(char **listing, size_t *n_documents, const char *path) {
    size_t n_bytes = 0;
    FILE *out = open_memstream(listing, &n_bytes);
    sp_text_reader *reader = NULL;
    *n_documents = 0;
    sp_status status = sp_text_reader_open(&reader, path, NULL, NULL);
    if (status == SP_OK) status = append_rest(out, reader, n_documents);
    sp_text_reader_close(reader);
    fclose(out);
    return status;
}

void shard_assert_documents(const char *path, const char *expected) {
    char *listing = NULL;
    size_t n_documents = 0;
    const sp_status status = shard_read_all(&listing, &n_documents, path);
    if (status != SP_OK) fail_msg("%s", sp_message());
    assert_string_equal(listing, expected);
    free(listing);
}

void shard_assert_refused(const char *path, const char *expected) {
    char *listing = NULL;
    size_t n_documents = 0;
    assert_int_equal(shard_read_all(&listing, &n_documents, path), SP_BAD_DATA);
    if (strstr(sp_message(), expected) == NULL)
        fail_msg("'%s' does not say '%s'", sp_message(), expected);
    assert_non_null(strstr(sp_message(), path));
    free(listing);
}

char *shard_lines(size_t *n_bytes) {
    char *text = NULL;
    FILE *out = open_memstream(&text, n_bytes);
    for (int i = 0; i < 60; i++) {
        if (i % 7 == 3) fputs("\n", out);
        fprintf(out, "{\"id\":%d,\"text\":\"", i);
        for (int n_letters = i % 11 == 5 ? 400 : i % 5; n_letters > 0; n_letters--)
            fputc('a' + i % 26, out);
        fputs("\"}\n", out);
    }
    fclose(out);
    return text;
}

void shard_read_with(char **listing, const char *path, const sp_text_unit *unit,
                     const sp_text_options *options, size_t *n_documents) {
    size_t n_bytes = 0;
    sp_text_reader *reader = NULL;
    FILE *out = open_memstream(listing, &n_bytes);
    if (sp_text_reader_open(&reader, path, unit, options) != SP_OK) fail_msg("%s", sp_message());
    if (append_rest(out, reader, n_documents) != SP_OK) fail_msg("%s", sp_message());
    sp_text_reader_close(reader);
    fclose(out);
}
