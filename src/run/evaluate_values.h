/* The JSON values of an evaluation file: those of a .jsonl, one a line, or the one that the whole
   file is, in one line or many. Also packed as .gz or .zst. Blank lines are passed over. */
#pragma once

#include "base/json.h"

#include <stdbool.h>

typedef struct sp_value_stream sp_value_stream; /* opaque */

/* Opens `path` (borrowed until close). SP_IO: cannot be opened. */
SP_NODISCARD sp_status sp_value_stream_open(sp_value_stream **stream, const char *path);
void sp_value_stream_close(sp_value_stream *stream); /* NULL is fine */

/* Reads the next value into *value, owned, or NULL after the last. Strings may hold NULs. SP_BAD_DATA:
   not JSON, with file, line and column, or damaged. */
SP_NODISCARD sp_status sp_value_stream_next(sp_value_stream *stream, json_t **value);

/* Reads the next line that is not blank as text, without its end, into *text [*n_bytes], borrowed until
   the next call, or NULL after the last. */
SP_NODISCARD sp_status sp_value_stream_next_line(sp_value_stream *stream, const char **text,
                                                 size_t *n_bytes);

/* The line, from 1, on which the present value or line begins. */
size_t sp_value_stream_line(const sp_value_stream *stream);

/* The member of `object` that is a string or a whole number, by the first of `names` (ended by NULL)
   that it has, as text in *text, owned; NULL if it has none. SP_BAD_DATA: it is something else, or
   has a NUL; `where` is the file. */
SP_NODISCARD sp_status sp_value_id(char **text, const json_t *object, const char *const *names,
                                   const char *where);
