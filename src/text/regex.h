/* Regular expressions of tokenizer.json (Oniguruma's dialect), matched by PCRE2.

   Patterns come from files that are not trusted: steps, depth and memory of a search are limited,
   the steps in proportion to the text. Subjects are valid UTF-8. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_regex sp_regex; /* does not change: may be shared by threads */

/* What one thread needs to search with any regex. */
typedef struct sp_regex_search sp_regex_search;

/* Compiles a pattern of n_bytes; with is_literal, its characters stand for themselves. Owned:
   sp_regex_destroy(). SP_BAD_DATA: no such pattern; the message names it. */
SP_NODISCARD sp_status sp_regex_create(sp_regex **regex, const char *pattern, size_t n_bytes,
                                       bool is_literal);
void sp_regex_destroy(sp_regex *regex);

/* As it was given; borrowed. */
const char *sp_regex_pattern(const sp_regex *regex);
bool sp_regex_is_literal(const sp_regex *regex);

SP_NODISCARD sp_status sp_regex_search_create(sp_regex_search **search);
void sp_regex_search_destroy(sp_regex_search *search);

/* Finds the leftmost match that begins at or after `from` in n_bytes of text: [*begin, *end), or
   *found false. Lookbehinds see the text before `from`. SP_BAD_DATA: too many steps. */
SP_NODISCARD sp_status sp_regex_find(const sp_regex *regex, sp_regex_search *search,
                                     const char *text, size_t n_bytes, size_t from, bool *found,
                                     size_t *begin, size_t *end);

/* Where a walk over a text's matches stands. All zero: at its start. */
typedef struct sp_regex_walk {
    size_t search_from; /* beyond the text's length: no more matches */
    size_t last_end;    /* of the last match */
    bool has_last;
} sp_regex_walk;

/* The next match in n_bytes of text, or *found false. An empty match at the end of the one before
   is passed over, as Rust's iterators over matches do. */
SP_NODISCARD sp_status sp_regex_walk_next(const sp_regex *regex, sp_regex_search *search,
                                          sp_regex_walk *walk, const char *text, size_t n_bytes,
                                          bool *found, size_t *begin, size_t *end);
