/* Characters that Unicode got after version 14, by general category: PCRE2 as Debian 12 has it
   (10.42) does not know them, the reference's Oniguruma does (Unicode 16). Letters, marks and
   numbers, since those are what the pre-tokenizers' patterns tell apart. */
#pragma once

#include <stddef.h>

/* Writes the later characters of a category of n_name bytes ("L", "Nd") as ranges of a set, for
   example "\x{10D40}-\x{10D49}", into `set` unless it is NULL; returns their length in bytes, 0
   where there are none. */
size_t sp_later_characters(char *set, const char *name, size_t n_name);
