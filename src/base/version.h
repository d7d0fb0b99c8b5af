/* Which libraries the lowest folder uses. */
#pragma once

#include <stddef.h>

/* Write a library's version to text [size]. */
void sp_jansson_version(char *text, size_t size);
void sp_libyaml_version(char *text, size_t size);
void sp_xxhash_version(char *text, size_t size);
