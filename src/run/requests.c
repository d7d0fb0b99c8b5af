#include "run/requests.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sp_requests {
    FILE *file;
    char *path, *line; /* owned */
    size_t line_capacity, n_lines;
};

void sp_request_free(sp_request *request) {
    free(request->documents);
    json_decref(request->line);
    *request = (sp_request){0};
}

sp_status sp_requests_open(sp_requests **requests, const char *path) {
    sp_requests *r = calloc(1, sizeof *r);
    if (r == NULL) return sp_fail(SP_FAILURE, "no memory for requests");
    r->path = strdup(path);
    r->file = fopen(path, "r");
    if (r->path != NULL && r->file != NULL) {
        *requests = r;
        return SP_OK;
    }
    const sp_status status = sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    sp_requests_close(r);
    return status;
}

void sp_requests_close(sp_requests *r) {
    if (r == NULL) return;
    if (r->file != NULL) fclose(r->file);
    free(r->path);
    free(r->line);
    free(r);
}

const char *sp_requests_path(const sp_requests *r) { return r->path; }

/* A missing or null member leaves *out as it is. */
static sp_status read_string(const char **out, const json_t *line, const char *key,
                             const char *where) {
    const json_t *value = json_object_get(line, key);
    if (value == NULL || json_is_null(value)) return SP_OK;
    if (!json_is_string(value)) return sp_fail(SP_BAD_DATA, "%s: '%s' is not a string", where, key);
    *out = json_string_value(value);
    return SP_OK;
}

static sp_status read_documents(sp_request *request, const char *where) {
    const char *document = NULL;
    SP_TRY(read_string(&document, request->line, "document", where));
    const json_t *several = json_object_get(request->line, "documents");
    if (json_is_null(several)) several = NULL;
    if (several != NULL && (!json_is_array(several) || document != NULL))
        return sp_fail(SP_BAD_DATA, "%s: 'documents' is a list of ids, in place of 'document'",
                       where);
    const size_t n = document != NULL ? 1 : json_array_size(several);
    void *documents = NULL;
    SP_TRY(sp_alloc_array(&documents, n, sizeof(char *), "a request"));
    request->documents = documents;
    request->n_documents = n;
    for (size_t i = 0; i < n; i++) {
        request->documents[i] =
            document != NULL ? document : json_string_value(json_array_get(several, i));
        if (request->documents[i] == NULL)
            return sp_fail(SP_BAD_DATA, "%s: 'documents' is a list of ids, which are strings",
                           where);
    }
    if (document == NULL && several == NULL && request->context == NULL)
        return sp_fail(SP_BAD_DATA, "%s: needs 'document', 'documents' or 'context'", where);
    return SP_OK;
}

static sp_status read_request(sp_request *request, const char *where) {
    const json_t *id = json_object_get(request->line, "id");
    if (!json_is_object(request->line)) return sp_fail(SP_BAD_DATA, "%s: not a JSON object", where);
    if (id != NULL && !json_is_null(id)) request->id = id;
    if (request->id != NULL && !json_is_string(id) && !json_is_integer(id))
        return sp_fail(SP_BAD_DATA, "%s: 'id' is no string or integer", where);
    SP_TRY(read_string(&request->prompt, request->line, "prompt", where));
    SP_TRY(read_string(&request->context, request->line, "context", where));
    return read_documents(request, where);
}

static bool is_blank(const char *line) { return line[strspn(line, " \t\r\n")] == '\0'; }

static sp_status read_line(sp_requests *r, size_t *n_bytes, bool *is_end) {
    do {
        errno = 0;
        const ssize_t n = getline(&r->line, &r->line_capacity, r->file);
        *is_end = n < 0;
        if (n < 0 && (ferror(r->file) || errno != 0))
            return sp_fail(SP_IO, "'%s': %s", r->path, strerror(errno));
        if (n < 0) return SP_OK;
        *n_bytes = (size_t)n;
        r->n_lines++;
    } while (is_blank(r->line) && strlen(r->line) == *n_bytes);
    return SP_OK;
}

sp_status sp_requests_next(sp_requests *r, sp_request *request, bool *is_end) {
    char where[512];
    size_t n_bytes = 0;
    SP_TRY(read_line(r, &n_bytes, is_end));
    if (*is_end) return SP_OK;
    snprintf(where, sizeof where, "'%s', line %zu", r->path, r->n_lines);
    json_error_t error;
    sp_request read = {.line_number = r->n_lines};
    read.line = json_loadb(r->line, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (read.line == NULL) return sp_fail(SP_BAD_DATA, "%s: %s", where, error.text);
    const sp_status status = read_request(&read, where);
    if (status != SP_OK)
        sp_request_free(&read);
    else
        *request = read;
    return status;
}

sp_status sp_requests_rewind(sp_requests *r) {
    r->n_lines = 0;
    if (fseek(r->file, 0, SEEK_SET) == 0) return SP_OK;
    return sp_fail(SP_IO, "'%s': is read twice, and so must be a file: %s", r->path,
                   strerror(errno));
}

bool sp_requests_share_memory(const sp_request *a, const sp_request *b) {
    if (a->n_documents != b->n_documents) return false;
    for (size_t i = 0; i < a->n_documents; i++)
        if (strcmp(a->documents[i], b->documents[i]) != 0) return false;
    if (a->context == NULL || b->context == NULL) return a->context == b->context;
    return strcmp(a->context, b->context) == 0;
}
