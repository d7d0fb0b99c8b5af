#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A repeated key is a file with two meanings; a NUL inside a string would cut it in C. */
static const size_t load_flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;

static sp_status not_json(const char *name, const json_error_t *error) {
    return sp_fail(SP_BAD_DATA, "'%s', line %d, column %d: not JSON: %s", name, error->line,
                   error->column, error->text);
}

sp_status sp_json_load_file(json_t **value, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return sp_fail(SP_IO, "'%s': cannot open: %s", path, strerror(errno));
    json_error_t error;
    errno = 0;
    json_t *loaded = json_loadf(file, load_flags, &error);
    const int read_error = ferror(file) ? errno : 0;
    fclose(file);
    if (loaded == NULL && read_error != 0)
        return sp_fail(SP_IO, "'%s': cannot read: %s", path, strerror(read_error));
    if (loaded == NULL) return not_json(path, &error);
    *value = loaded;
    return SP_OK;
}

sp_status sp_json_load_text(json_t **value, const char *text, size_t n_bytes, const char *name) {
    json_error_t error;
    json_t *loaded = json_loadb(text, n_bytes, load_flags, &error);
    if (loaded == NULL) return not_json(name, &error);
    *value = loaded;
    return SP_OK;
}

/* NULL where the default holds. */
static const json_t *find_member(const json_t *object, const char *key) {
    const json_t *member = json_object_get(object, key);
    return json_is_null(member) ? NULL : member;
}

static sp_status wrong_type(const char *where, const char *key, const char *wanted) {
    return sp_fail(SP_BAD_DATA, "'%s': '%s' is not %s", where, key, wanted);
}

sp_status sp_json_get_size(size_t *out, const json_t *object, const char *key, const char *where) {
    const json_t *member = find_member(object, key);
    if (member == NULL) return SP_OK;
    if (!json_is_integer(member) || json_integer_value(member) < 0)
        return wrong_type(where, key, "a whole number of at least 0");
    *out = (size_t)json_integer_value(member); /* not negative, and both have 64 bits */
    return SP_OK;
}

sp_status sp_json_get_double(double *out, const json_t *object, const char *key,
                             const char *where) {
    const json_t *member = find_member(object, key);
    if (member == NULL) return SP_OK;
    if (!json_is_number(member)) return wrong_type(where, key, "a number");
    *out = json_number_value(member);
    return SP_OK;
}

sp_status sp_json_get_bool(bool *out, const json_t *object, const char *key, const char *where) {
    const json_t *member = find_member(object, key);
    if (member == NULL) return SP_OK;
    if (!json_is_boolean(member)) return wrong_type(where, key, "true or false");
    *out = json_is_true(member);
    return SP_OK;
}

sp_status sp_json_get_string(const char **out, const json_t *object, const char *key,
                             const char *where) {
    const json_t *member = find_member(object, key);
    if (member == NULL) return SP_OK;
    if (!json_is_string(member)) return wrong_type(where, key, "a string");
    *out = json_string_value(member);
    return SP_OK;
}
