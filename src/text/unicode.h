/* Characters: UTF-8 in text that may hold anything, and the character classes that the tokenizers'
   and metrics' definitions use. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SP_UTF8_MAX = 4 }; /* bytes of a character */

/* Decodes the character at the start of n_bytes of text into *character; returns its length in
   bytes, or 0 where no well-formed character starts (Unicode table 3-7: no overlong form, no
   surrogate, nothing beyond U+10FFFF) or n_bytes is 0. */
size_t sp_utf8_decode(uint32_t *character, const char *text, size_t n_bytes);

/* Writes a character (a Unicode scalar value) and returns its length in bytes. */
size_t sp_utf8_encode(char bytes[SP_UTF8_MAX], uint32_t character);

/* Length in bytes of the longest prefix that is valid UTF-8. */
size_t sp_utf8_valid_prefix(const char *text, size_t n_bytes);

/* Length in bytes of the longest prefix in which no well-formed character starts. */
size_t sp_utf8_invalid_prefix(const char *text, size_t n_bytes);

/* Start of the last character of the valid text[0..end), end > 0. */
size_t sp_utf8_last_character(const char *text, size_t end);

/* Unicode's White_Space property. */
bool sp_unicode_is_space(uint32_t character);

/* What \w matches in Rust's regex: Alphabetic, marks, decimal digits, connector punctuation and
   the two joiners. */
bool sp_unicode_is_word(uint32_t character);

/* What Python's str.isalnum() holds for: letters and numbers of any kind, no marks. */
bool sp_unicode_is_alphanumeric(uint32_t character);

/* The character in lower case by itself (Simple_Lowercase_Mapping). */
uint32_t sp_unicode_lower(uint32_t character);

/* Unicode's Cased, apart from letters that are case-ignorable as well, and Case_Ignorable: what
   tells a final sigma. */
bool sp_unicode_is_cased(uint32_t character);
bool sp_unicode_is_case_ignorable(uint32_t character);
