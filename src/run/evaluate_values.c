#include "run/evaluate_values.h"

#include "base/memory.h"
#include "io/byte_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line, or a file that is one value, is damage beyond this: bounds what a packed file unpacks to. */
static const size_t most_bytes = (size_t)1 << 31;

enum { FIRST_BUFFER_BYTES = 1 << 16 };

struct sp_value_stream {
    const char *path;
    sp_byte_stream *bytes;
    char *buffer; /* [capacity], owned; [begin, end) is still to be read */
    size_t capacity, begin, end;
    bool is_at_end, has_read; /* no more bytes; a value was read */
    size_t n_lines, line;     /* passed so far; where the present value begins */
};

sp_status sp_value_stream_open(sp_value_stream **stream, const char *path) {
    void *block = NULL, *buffer = NULL;
    SP_TRY(sp_alloc(&block, sizeof **stream, "a file of values"));
    sp_value_stream *made = block;
    made->path = path;
    sp_status status = sp_alloc(&buffer, FIRST_BUFFER_BYTES, "a file of values");
    made->buffer = buffer;
    made->capacity = FIRST_BUFFER_BYTES;
    if (status == SP_OK) status = sp_byte_stream_open(&made->bytes, path);
    if (status == SP_OK)
        *stream = made;
    else
        sp_value_stream_close(made);
    return status;
}

void sp_value_stream_close(sp_value_stream *stream) {
    if (stream == NULL) return;
    sp_byte_stream_close(stream->bytes);
    free(stream->buffer);
    free(stream);
}

size_t sp_value_stream_line(const sp_value_stream *stream) { return stream->line; }

static sp_status read_more(sp_value_stream *s) {
    if (s->begin > 0) {
        memmove(s->buffer, s->buffer + s->begin, s->end - s->begin);
        s->end -= s->begin;
        s->begin = 0;
    }
    if (s->end >= most_bytes)
        return sp_fail(SP_BAD_DATA, "'%s', line %zu: more than %zu bytes", s->path, s->n_lines + 1,
                       most_bytes);
    if (s->end == s->capacity) {
        char *grown = realloc(s->buffer, 2 * s->capacity);
        if (grown == NULL)
            return sp_fail(SP_FAILURE, "'%s': no memory for a line of %zu bytes", s->path,
                           2 * s->capacity);
        s->buffer = grown;
        s->capacity *= 2;
    }
    size_t n_read = 0;
    SP_TRY(sp_byte_stream_read(s->bytes, s->buffer + s->end, s->capacity - s->end, &n_read));
    s->end += n_read;
    s->is_at_end = n_read == 0;
    return SP_OK;
}

/* Finds the next line's length, without its end; the bytes up to *next are passed with it. */
static sp_status find_line(sp_value_stream *s, size_t *len, size_t *next) {
    size_t searched = 0;
    for (;;) {
        const char *begin = s->buffer + s->begin;
        const char *end = memchr(begin + searched, '\n', s->end - s->begin - searched);
        if (end != NULL || s->is_at_end) {
            *len = end != NULL ? (size_t)(end - begin) : s->end - s->begin;
            *next = *len + (end != NULL);
            return SP_OK;
        }
        searched = s->end - s->begin;
        SP_TRY(read_more(s));
    }
}

static bool is_blank(const char *text, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (strchr(" \t\r", text[i]) == NULL || text[i] == '\0') return false;
    return true;
}

static json_t *parse(const char *text, size_t n_bytes, json_error_t *error) {
    return json_loadb(text, n_bytes, JSON_ALLOW_NUL | JSON_DECODE_ANY, error);
}

/* The whole of the file from the present line on. */
static sp_status read_all(sp_value_stream *s, json_t **value) {
    json_error_t error;
    while (!s->is_at_end) SP_TRY(read_more(s));
    *value = parse(s->buffer + s->begin, s->end - s->begin, &error);
    s->begin = s->end;
    if (*value != NULL) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s', line %zu, column %d: not JSON: %s", s->path,
                   s->n_lines + (size_t)error.line, error.column, error.text);
}

sp_status sp_value_stream_next(sp_value_stream *s, json_t **value) {
    for (;;) {
        size_t len = 0, next = 0;
        SP_TRY(find_line(s, &len, &next));
        if (next == 0) {
            *value = NULL;
            return SP_OK;
        }
        const char *line = s->buffer + s->begin;
        if (!is_blank(line, len)) {
            json_error_t error;
            s->line = s->n_lines + 1;
            *value = parse(line, len, &error);
            if (*value == NULL && !s->has_read) return read_all(s, value);
            if (*value == NULL)
                return sp_fail(SP_BAD_DATA, "'%s', line %zu, column %d: not JSON: %s", s->path,
                               s->line, error.column, error.text);
        }
        s->begin += next;
        s->n_lines++;
        if (*value != NULL) break;
    }
    s->has_read = true;
    return SP_OK;
}

sp_status sp_value_stream_next_line(sp_value_stream *s, const char **text, size_t *n_bytes) {
    for (;;) {
        size_t len = 0, next = 0;
        SP_TRY(find_line(s, &len, &next));
        const char *line = s->buffer + s->begin;
        s->begin += next;
        s->line = ++s->n_lines;
        if (next > 0 && is_blank(line, len)) continue;
        *text = next > 0 ? line : NULL;
        *n_bytes = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
        return SP_OK;
    }
}

sp_status sp_value_id(char **text, const json_t *object, const char *const *names,
                      const char *where) {
    const json_t *value = NULL;
    char digits[32];
    *text = NULL;
    for (; *names != NULL && (value == NULL || json_is_null(value)); names++)
        value = json_object_get(object, *names);
    if (value == NULL || json_is_null(value)) return SP_OK;
    const char *name = names[-1], *content = digits;
    if (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value))
        content = json_string_value(value);
    else if (json_is_integer(value))
        (void)snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
    else
        return sp_fail(SP_BAD_DATA, "%s: '%s' is no text or whole number", where, name);
    *text = strdup(content);
    return *text != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for an id");
}
