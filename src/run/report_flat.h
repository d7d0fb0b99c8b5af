/* Members of a JSON object on one line that holds no objects and lists, as metrics.jsonl's do: some ten
   times as fast as a parser that builds values, which tells in runs of a million steps. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_flat_member {
    const char *key; /* borrowed from the line, not terminated */
    size_t key_bytes;
    bool is_number, is_integer, is_true; /* none of them: a text, false or null */
    double number;
} sp_flat_member;

typedef struct sp_flat {
    const char *at, *end;
    bool has_begun, is_whole, is_damaged;
} sp_flat;

/* Begins a line [n_bytes], which is followed by a NUL. */
void sp_flat_begin(sp_flat *flat, const char *line, size_t n_bytes);

/* Reads the next member; false at the end. Then is_whole says whether the line was an object of the
   plain kind that this reads: other JSON, and what is no JSON, is not. */
bool sp_flat_next(sp_flat *flat, sp_flat_member *member);
