/* Which library of regular expressions is in use. */
#pragma once

#include <stddef.h>

/* Writes PCRE2's version and date to text [size]. */
void sp_pcre2_version(char *text, size_t size);
