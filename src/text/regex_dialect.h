/* The regular expressions of tokenizer.json are Oniguruma's (Ruby syntax); we match with PCRE2.
   Most is common to both. What differs is rewritten:

       \s \S \w \W \d \D \b \B     Unicode's own classes (PCRE2's have U+180E as a space, and words
                                   without marks)
       \h \H \v \uHHHH             hexadecimal digit, vertical tab, a character
       X{n,m}+                     repeats the interval; for PCRE2 it would be possessive
       X{,m}                       X{0,m}
       (?m)                        PCRE2's (?s); ^ and $ always match at lines
       [a[bc]]                     nested sets are joined
       [[:alpha:]] and the like    by Unicode property
       \p{Han} and the like        the script without its extensions
       \p{L} and the like          with the characters of Unicode 15 and 16 (later_characters.h)

   What has no counterpart (set intersection, negated nested sets, callouts) is refused. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* Writes PCRE2's form of a pattern of n_bytes into *translated, owned (free()), with its length.
   SP_BAD_DATA: it cannot be translated; the message says why, without naming the pattern. */
SP_NODISCARD sp_status sp_regex_translate(char **translated, size_t *translated_len,
                                          const char *pattern, size_t n_bytes);
