/* Which libraries of text are in use. */
#pragma once

#include <stddef.h>

/* Write a library's version, PCRE2's with its date, to text [size]. */
void sp_pcre2_version(char *text, size_t size);
void sp_utf8proc_version(char *text, size_t size);
