/* From what a user names as inputs to the shards that are read: files, folders and patterns.

   A file is itself, whatever its extension. A folder is every file below it whose name says that it
   is text (io/text_reader.h), names sorted by their bytes in each folder, those of folders among
   them; names that begin with a dot are passed by. What is neither, and holds *, ? or [, is a
   pattern, whose matches are sorted and taken likewise. The order of the arguments stays. */
#pragma once

#include "base/status.h"

#include <stddef.h>

typedef struct sp_text_inputs {
    char **paths; /* [n], each owned, and the array */
    size_t n;
    size_t n_passed_by; /* files in folders whose names do not say that they are text */
} sp_text_inputs;

/* Expands names [n_names] into *inputs, to be freed by sp_text_inputs_free(). SP_IO: a name that
   is not there or cannot be read, a pattern that nothing matches, a folder without a text. */
SP_NODISCARD sp_status sp_text_inputs_expand(sp_text_inputs *inputs, const char *const *names,
                                             size_t n_names);
void sp_text_inputs_free(sp_text_inputs *inputs);
