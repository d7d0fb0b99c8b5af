/* A stream read to its end. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdio.h>

/* Reads the rest of `stream` into *text, owned, *n_bytes long and followed by a NUL that is not
   counted. `name` stands for the stream in messages. SP_IO: a read failed; SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_read_all(char **text, size_t *n_bytes, FILE *stream, const char *name);
