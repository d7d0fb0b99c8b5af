/* Text of any bytes as a JSON string. */
#pragma once

#include "base/json.h"

#include <stddef.h>

/* A JSON string of n_bytes of text, owned, or NULL without memory. JSON is UTF-8: each byte that
   belongs to no character becomes U+FFFD. NULs stay. */
json_t *sp_json_from_bytes(const char *text, size_t n_bytes);
