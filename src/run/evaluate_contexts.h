/* The contexts of an evaluation as documents, JSON lines {id: "context-N", text}, of which `compress`
   makes the slot file that the same evaluation reads in place of an encoder. */
#pragma once

#include "base/json.h"
#include "text/answer.h"

#include <stdio.h>

typedef struct sp_contexts_file {
    FILE *lines; /* owned, into bytes */
    char *bytes; /* [n_bytes], owned */
    size_t n_bytes, n;
} sp_contexts_file; /* all zero: none */

SP_NODISCARD sp_status sp_contexts_file_begin(sp_contexts_file *file);

/* Adds the context numbered so; one that is empty has no slots, and is left out. */
SP_NODISCARD sp_status sp_contexts_file_add(sp_contexts_file *file, size_t number,
                                            sp_answer_text text);

/* Unless `status` is a failure, writes the file `path`, atomically, and makes *result, an object, owned:
   task, data, count (items), contexts (how many) and written (where). Releases the file either way. */
SP_NODISCARD sp_status sp_contexts_file_end(sp_contexts_file *file, sp_status status,
                                            const char *path, const char *task, const char *data,
                                            size_t n_items, json_t **result);
