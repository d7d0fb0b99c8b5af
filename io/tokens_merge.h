/* One plain token file from an index over parts, or from any other token file. */
#pragma once

#include "base/status.h"

/* Writes the contents of the token file `input` as the plain file `output`, which is there whole or
   not at all: the same bytes as one writer would have written. Memory: what the reader keeps of
   `input`, and some MB. Errors as of reading and writing. */
SP_NODISCARD sp_status sp_tokens_merge(const char *output, const char *input);
