/* The byte-level alphabet of GPT-2: each byte is spelled by one printable character, so that a
   vocabulary of raw bytes can be written as JSON. Printable bytes of Latin-1 stand for themselves,
   the other 68 for U+0100 onward in rising order: space is U+0120, newline U+010A.
   (github.com/openai/gpt-2, src/encoder.py, bytes_to_unicode) */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Turns a spelling of n_spelling bytes of UTF-8 into the bytes that it stands for: *n_bytes of
   them, never more than n_spelling. Returns false if a character is not in the alphabet; `bytes`
   and *n_bytes are unspecified then. */
bool sp_byte_level_decode(char *bytes, size_t *n_bytes, const char *spelling, size_t n_spelling);
