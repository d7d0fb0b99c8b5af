#include "io/text_reader.h"

#include "base/memory.h"
#include "base/size.h"
#include "io/byte_stream.h"
#include "io/json_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FIRST_BUFFER_BYTES = 1 << 18 };

typedef enum shard_kind { TEXT_FILE, JSON_LINES } shard_kind;

struct sp_text_reader {
    char *path;
    shard_kind kind;
    sp_byte_stream *stream;
    char *buffer; /* [capacity]; one byte beyond `end` is always free */
    size_t capacity, begin, end;
    uint64_t n_lines; /* passed so far; a text file is one */
    bool at_end;      /* the stream has no more */
    char *id;         /* [id_size], owned: the made-up id */
    size_t id_size;
};

static sp_status find_kind(shard_kind *kind, const char *path) {
    bool is_packed = false;
    const size_t n = sp_unpacked_name_len(path, &is_packed);
    if (n > 4 && memcmp(path + n - 4, ".txt", 4) == 0)
        *kind = TEXT_FILE;
    else if (n > 6 && memcmp(path + n - 6, ".jsonl", 6) == 0)
        *kind = JSON_LINES;
    else
        return sp_fail(SP_BAD_DATA,
                       "'%s': unknown kind of text; known are .txt and .jsonl, each also with .gz "
                       "or .zst",
                       path);
    return SP_OK;
}

sp_status sp_text_file_size(const char *path, uint64_t *n_bytes) {
    struct stat info;
    shard_kind kind;
    SP_TRY(find_kind(&kind, path));
    if (stat(path, &info) != 0)
        return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return sp_fail(SP_IO, "cannot read '%s': not a regular file", path);
    *n_bytes = (uint64_t)info.st_size;
    return SP_OK;
}

sp_status sp_text_reader_open(sp_text_reader **reader, const char *path) {
    shard_kind kind;
    SP_TRY(find_kind(&kind, path));
    void *block = NULL, *buffer = NULL, *id = NULL;
    const size_t id_size = strlen(path) + sizeof ":18446744073709551615";
    sp_status status = sp_alloc(&block, sizeof **reader, "a text reader");
    if (status == SP_OK) status = sp_alloc(&buffer, FIRST_BUFFER_BYTES, "text");
    if (status == SP_OK) status = sp_alloc(&id, id_size, "a document's id");
    sp_text_reader *made = block;
    if (status == SP_OK) status = sp_byte_stream_open(&made->stream, path);
    if (status != SP_OK) {
        free(id);
        free(buffer);
        free(block);
        return status;
    }
    made->kind = kind;
    made->buffer = buffer;
    made->capacity = FIRST_BUFFER_BYTES;
    made->id = id;
    made->id_size = id_size;
    made->path = strdup(path);
    if (made->path == NULL) {
        sp_text_reader_close(made);
        return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    }
    *reader = made;
    return SP_OK;
}

void sp_text_reader_close(sp_text_reader *reader) {
    if (reader == NULL) return;
    sp_byte_stream_close(reader->stream);
    free(reader->id);
    free(reader->buffer);
    free(reader->path);
    free(reader);
}

/* Makes room behind the buffered text, by moving it to the front or into a larger buffer. */
static sp_status make_room(sp_text_reader *reader) {
    const size_t n_kept = reader->end - reader->begin;
    if (reader->begin > 0 && n_kept < reader->capacity / 2) {
        memmove(reader->buffer, reader->buffer + reader->begin, n_kept);
    } else if (reader->end + 1 >= reader->capacity) {
        size_t capacity = 0;
        if (!sp_size_mul(&capacity, reader->capacity, 2))
            return sp_fail(SP_FAILURE, "'%s': a line beyond all memory", reader->path);
        char *larger = malloc(capacity);
        if (larger == NULL)
            return sp_fail(SP_FAILURE, "'%s': no memory for a line or text of %zu bytes",
                           reader->path, capacity);
        memcpy(larger, reader->buffer + reader->begin, n_kept);
        free(reader->buffer);
        reader->buffer = larger;
        reader->capacity = capacity;
    } else {
        return SP_OK;
    }
    reader->begin = 0;
    reader->end = n_kept;
    return SP_OK;
}

/* Adds to the buffered text, or finds the end of the stream. */
static sp_status fill(sp_text_reader *reader) {
    SP_TRY(make_room(reader));
    size_t n_read = 0;
    SP_TRY(sp_byte_stream_read(reader->stream, reader->buffer + reader->end,
                               reader->capacity - 1 - reader->end, &n_read));
    reader->end += n_read;
    reader->at_end = n_read == 0;
    return SP_OK;
}

/* Takes the next line without its newline; *line is NULL at the end of the stream. */
static sp_status take_line(sp_text_reader *reader, char **line, size_t *n_bytes) {
    size_t n_searched = 0;
    const char *newline = NULL;
    for (;;) {
        const size_t n_buffered = reader->end - reader->begin;
        const char *text = reader->buffer + reader->begin;
        newline = memchr(text + n_searched, '\n', n_buffered - n_searched);
        if (newline != NULL || reader->at_end) break;
        n_searched = n_buffered;
        SP_TRY(fill(reader));
    }
    const size_t n_buffered = reader->end - reader->begin;
    *line = n_buffered > 0 ? reader->buffer + reader->begin : NULL;
    *n_bytes = newline != NULL ? (size_t)(newline - *line) : n_buffered;
    reader->begin += *n_bytes + (newline != NULL);
    return SP_OK;
}

/* The whole file is the document. */
static sp_status next_text(sp_text_reader *reader, sp_document *document, bool *end) {
    *end = reader->n_lines > 0;
    if (*end) return SP_OK;
    while (!reader->at_end) SP_TRY(fill(reader));
    reader->n_lines = 1;
    snprintf(reader->id, reader->id_size, "%s", reader->path);
    *document = (sp_document){.text = reader->buffer + reader->begin,
                              .n_bytes = reader->end - reader->begin,
                              .id = reader->id,
                              .line = 1};
    return SP_OK;
}

static bool is_blank(const char *line, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

static sp_status next_line(sp_text_reader *reader, sp_document *document, bool *end) {
    char *line = NULL;
    size_t n_bytes = 0;
    do {
        SP_TRY(take_line(reader, &line, &n_bytes));
        *end = line == NULL;
        if (*end) return SP_OK;
        reader->n_lines++;
        if (reader->n_lines == 1 && n_bytes >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
            line += 3; /* a byte order mark */
            n_bytes -= 3;
        }
    } while (is_blank(line, n_bytes));

    sp_json_line fields;
    const sp_status status = sp_json_line_parse(&fields, line, n_bytes);
    if (status != SP_OK)
        return sp_fail(status, "'%s', line %ju: %s", reader->path, (uintmax_t)reader->n_lines,
                       sp_message());
    snprintf(reader->id, reader->id_size, "%s:%ju", reader->path, (uintmax_t)reader->n_lines);
    *document = (sp_document){.text = fields.text,
                              .n_bytes = fields.text_len,
                              .id = fields.id != NULL ? fields.id : reader->id,
                              .has_own_id = fields.id != NULL,
                              .line = reader->n_lines};
    return SP_OK;
}

sp_status sp_text_reader_next(sp_text_reader *reader, sp_document *document, bool *end) {
    return reader->kind == TEXT_FILE ? next_text(reader, document, end)
                                     : next_line(reader, document, end);
}
