/* JSON through Jansson: loading with our errors, and members with their types checked.

   Values are jansson's json_t. A loaded value is owned (json_decref), a member is borrowed. */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parses a whole file. SP_IO: cannot be read; SP_BAD_DATA: not JSON, with line and column. */
SP_NODISCARD sp_status sp_json_load_file(json_t **value, const char *path);

/* Parses n_bytes of text; `name` stands for it in messages. */
SP_NODISCARD sp_status sp_json_load_text(json_t **value, const char *text, size_t n_bytes,
                                         const char *name);

/* Typed members of `object`. A missing or null member leaves *out as it was (set the default
   first) and is SP_OK; a member of another type or out of range is SP_BAD_DATA naming `where`.
   sp_json_get_string's result is borrowed from the object. */
SP_NODISCARD sp_status sp_json_get_size(size_t *out, const json_t *object, const char *key,
                                        const char *where);
SP_NODISCARD sp_status sp_json_get_double(double *out, const json_t *object, const char *key,
                                          const char *where);
SP_NODISCARD sp_status sp_json_get_bool(bool *out, const json_t *object, const char *key,
                                        const char *where);
SP_NODISCARD sp_status sp_json_get_string(const char **out, const json_t *object, const char *key,
                                          const char *where);
