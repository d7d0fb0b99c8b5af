/* Which known word a mistyped one was meant to be. */
#pragma once

#include <stddef.h>

/* Counts the characters to insert, delete or replace (each costs 1) that turn a into b. Of a word
   beyond 255 bytes only those are looked at. */
size_t sp_edit_distance(const char *a, const char *b);
