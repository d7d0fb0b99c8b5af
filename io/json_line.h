/* One line of a .jsonl file: a JSON object, of which the text, the member `id` and those that
   conditions ask for are wanted.

   Written for this and not with Jansson because bytes that are not UTF-8 are to be kept, which
   Jansson refuses, and because nothing is built or copied: strings are decoded where they lie. The
   whole line is checked against JSON's grammar (RFC 8259), with that one exception. Half a
   surrogate pair becomes the three bytes that encode it, which are not UTF-8 either. Of members
   with the same name the last counts. */
#pragma once

#include "base/status.h"
#include "io/condition.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_json_wanted {
    const char *text;           /* the name of the member that holds the text */
    const sp_conditions *where; /* on members of the object; NULL: none */
    sp_field *fields;           /* [where->n], scratch */
} sp_json_wanted;

typedef struct sp_json_line {
    bool is_wanted;   /* all conditions hold; else there is no text, and only an id that is one */
    const char *text; /* [text_len], decoded; borrowed from the line */
    size_t text_len;
    const char *id; /* terminated; a number as it is spelled; NULL: none, null or empty */
} sp_json_line;

/* Parses line [n_bytes], which is overwritten; line[n_bytes] may be written too. SP_BAD_DATA: not an
   object, conditions that its members cannot answer, or where they hold, no string for the text, or
   an `id` that is no string or number; the message has what the line has, and the caller puts the
   file before it. */
SP_NODISCARD sp_status sp_json_line_parse(sp_json_line *fields, const sp_json_wanted *wanted,
                                          char *line, size_t n_bytes);
