/* 128 bits that stand for a stream of values (XXH3-128), as they are written in our files. */
#pragma once

#include "base/status.h"

#include <stddef.h>

enum { SP_DIGEST_HEX_SIZE = 33 }; /* 32 hexadecimal digits and a NUL */

/* Writes the digest of n_bytes as text. */
void sp_digest_bytes(char hex[SP_DIGEST_HEX_SIZE], const void *data, size_t n_bytes);

/* Writes the digest of a file's contents from byte `begin` on. SP_IO: cannot be read. */
SP_NODISCARD sp_status sp_digest_file(char hex[SP_DIGEST_HEX_SIZE], const char *path, size_t begin);
