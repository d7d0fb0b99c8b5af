/* The bytes of a file from front to back, unpacked if its name ends in .gz or .zst. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_byte_stream sp_byte_stream; /* opaque */

/* Opens a regular file. SP_IO: cannot be opened. */
SP_NODISCARD sp_status sp_byte_stream_open(sp_byte_stream **stream, const char *path);
void sp_byte_stream_close(sp_byte_stream *stream); /* NULL is fine */

/* Goes to `offset`, of a file that is not packed and of which nothing was read yet. SP_IO: the system
   refuses. */
SP_NODISCARD sp_status sp_byte_stream_begin_at(sp_byte_stream *stream, uint64_t offset);

/* Reads up to `size` (at least 1) bytes to out; *n_read is 0 at the end only. SP_BAD_DATA: packed
   data that are damaged or end too early. */
SP_NODISCARD sp_status sp_byte_stream_read(sp_byte_stream *stream, void *out, size_t size,
                                           size_t *n_read);

/* The length of `path` without .gz or .zst, and whether it has one. */
size_t sp_unpacked_name_len(const char *path, bool *is_packed);
