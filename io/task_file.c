#include "io/task_file.h"

#include "base/json.h"
#include "io/byte_stream.h"
#include "io/text_reader.h"

#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 16 };

struct sp_task_file {
    char *path; /* owned */
    sp_byte_stream *stream;
    char *buffer; /* [capacity], owned: bytes [begin, end) are not yet taken */
    size_t begin, end, capacity;
    bool is_over; /* nothing more comes from the stream */
    uint64_t line;
    json_t *object; /* the present row */
    sp_task_message *messages;
};

sp_status sp_task_file_open(sp_task_file **file, const char *path) {
    bool is_packed = false;
    const size_t n = sp_unpacked_name_len(path, &is_packed);
    if (n < strlen(".jsonl") || strncmp(path + n - strlen(".jsonl"), ".jsonl", 6) != 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s': rows come in files named .jsonl, .jsonl.gz or .jsonl.zst", path);
    sp_task_file *made = calloc(1, sizeof *made);
    char *copy = strdup(path);
    if (made == NULL || copy == NULL) {
        free(made);
        free(copy);
        return sp_fail(SP_FAILURE, "no memory for '%s'", path);
    }
    made->path = copy;
    const sp_status status = sp_byte_stream_open(&made->stream, path);
    if (status != SP_OK)
        sp_task_file_close(made);
    else
        *file = made;
    return status;
}

void sp_task_file_close(sp_task_file *file) {
    if (file == NULL) return;
    json_decref(file->object);
    free(file->messages);
    free(file->buffer);
    sp_byte_stream_close(file->stream);
    free(file->path);
    free(file);
}

/* ---- lines ---- */

/* Makes room for READ_BYTES behind what is not yet taken. */
static sp_status make_room(sp_task_file *file) {
    if (file->begin > 0) {
        memmove(file->buffer, file->buffer + file->begin, file->end - file->begin);
        file->end -= file->begin;
        file->begin = 0;
    }
    if (file->capacity - file->end >= READ_BYTES) return SP_OK;
    const size_t wanted = 2 * (file->end + READ_BYTES);
    char *grown = realloc(file->buffer, wanted);
    if (grown == NULL) return sp_fail(SP_FAILURE, "'%s': no memory for a line", file->path);
    file->buffer = grown;
    file->capacity = wanted;
    return SP_OK;
}

static sp_status read_more(sp_task_file *file) {
    size_t n_read = 0;
    SP_TRY(make_room(file));
    const sp_status status =
        sp_byte_stream_read(file->stream, file->buffer + file->end, READ_BYTES, &n_read);
    file->end += n_read;
    file->is_over = n_read == 0 || status != SP_OK;
    return status;
}

/* The next line without its end, borrowed; NULL after the last. */
static sp_status take_line(sp_task_file *file, char **line, size_t *n_bytes) {
    size_t looked = 0;
    *line = NULL;
    for (;;) {
        char *const begin = file->buffer + file->begin;
        const size_t n = file->end - file->begin;
        char *const newline = n > looked ? memchr(begin + looked, '\n', n - looked) : NULL;
        if (newline == NULL && !file->is_over) {
            if (n >= SP_TEXT_MOST_BYTES) {
                file->is_over = true;
                file->begin = file->end;
                return sp_fail(SP_BAD_DATA, "'%s', line %ju: longer than %d bytes", file->path,
                               (uintmax_t)file->line + 1, SP_TEXT_MOST_BYTES);
            }
            looked = n;
            SP_TRY(read_more(file));
            continue;
        }
        if (newline == NULL && n == 0) return SP_OK;
        *line = begin;
        *n_bytes = newline != NULL ? (size_t)(newline - begin) : n;
        file->begin += *n_bytes + (newline != NULL);
        file->line++;
        return SP_OK;
    }
}

static bool is_blank(const char *line, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

/* ---- rows ---- */

/* Is what is wrong with the present row, said after file and line. */
static sp_status refuse(const sp_task_file *file, const char *what, const char *name) {
    return sp_fail(SP_BAD_DATA, "'%s', line %ju: %s '%s'", file->path, (uintmax_t)file->line, what,
                   name);
}

static sp_status get_text(const sp_task_file *file, const char **text, const json_t *object,
                          const char *name, bool may_be_empty) {
    const json_t *member = json_object_get(object, name);
    if (member == NULL) return refuse(file, "no field", name);
    if (!json_is_string(member)) return refuse(file, "not a string: field", name);
    if (!may_be_empty && json_string_length(member) == 0)
        return refuse(file, "nothing in field", name);
    *text = json_string_value(member);
    return SP_OK;
}

static sp_status read_message(const sp_task_file *file, sp_task_message *message,
                              const json_t *object) {
    static const char *const roles[] = {
        [SP_ROLE_SYSTEM] = "system", [SP_ROLE_USER] = "user", [SP_ROLE_ASSISTANT] = "assistant"};
    const char *role = NULL;
    if (!json_is_object(object)) return refuse(file, "not an object: an item of", "messages");
    *message = (sp_task_message){0};
    SP_TRY(get_text(file, &role, object, "role", false));
    SP_TRY(get_text(file, &message->content, object, "content", false));
    const json_t *name = json_object_get(object, "name");
    if (name != NULL && !json_is_null(name))
        SP_TRY(get_text(file, &message->name, object, "name", false));
    for (int r = SP_ROLE_SYSTEM; r <= SP_ROLE_ASSISTANT; r++) {
        if (strcmp(role, roles[r]) != 0) continue;
        message->role = (sp_task_role)r;
        return SP_OK;
    }
    return refuse(file, "not system, user or assistant: role", role);
}

static sp_status read_messages(sp_task_file *file, sp_task_row *row, const json_t *list) {
    const size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 2)
        return refuse(file, "not a list of two or more messages: field", "messages");
    sp_task_message *grown = realloc(file->messages, n * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu messages", n);
    file->messages = grown;
    for (size_t i = 0; i < n; i++) SP_TRY(read_message(file, &grown[i], json_array_get(list, i)));
    const size_t first = grown[0].role == SP_ROLE_SYSTEM;
    bool is_in_turn = (n - first) % 2 == 0;
    for (size_t i = first; i < n; i++)
        is_in_turn = is_in_turn &&
                     grown[i].role == ((i - first) % 2 == 0 ? SP_ROLE_USER : SP_ROLE_ASSISTANT);
    if (!is_in_turn)
        return refuse(file, "user and assistant do not take turns, the assistant last: field",
                      "messages");
    row->messages = grown;
    row->n_messages = n;
    return SP_OK;
}

static sp_status read_row(sp_task_file *file, sp_task_row *row, const char *text, size_t n_bytes) {
    json_error_t error;
    json_decref(file->object);
    file->object = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(file->object))
        return sp_fail(SP_BAD_DATA, "'%s', line %ju: not a JSON object: %s", file->path,
                       (uintmax_t)file->line, file->object == NULL ? error.text : "a list");
    *row = (sp_task_row){.line = file->line};
    SP_TRY(get_text(file, &row->context, file->object, "context", false));
    const json_t *messages = json_object_get(file->object, "messages");
    if (messages == NULL) {
        SP_TRY(get_text(file, &row->prompt, file->object, "prompt", true));
        return get_text(file, &row->answer, file->object, "answer", false);
    }
    if (json_object_get(file->object, "prompt") != NULL ||
        json_object_get(file->object, "answer") != NULL)
        return refuse(file, "prompt and answer do not go with field", "messages");
    return read_messages(file, row, messages);
}

sp_status sp_task_file_next(sp_task_file *file, sp_task_row *row, bool *end) {
    char *line = NULL;
    size_t n_bytes = 0;
    do {
        const sp_status status = take_line(file, &line, &n_bytes);
        if (status == SP_BAD_DATA || status == SP_IO) file->begin = file->end;
        SP_TRY(status);
    } while (line != NULL && is_blank(line, n_bytes));
    *end = line == NULL;
    if (line == NULL) return SP_OK;
    sp_task_row read = {0};
    SP_TRY(read_row(file, &read, line, n_bytes));
    *row = read;
    return SP_OK;
}
