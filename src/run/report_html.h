/* Pieces of HTML. Whatever comes from a file goes through sp_html_text(). */
#pragma once

#include "base/json.h"

#include <stdio.h>

/* Writes text as HTML shows it: markup's characters escaped, control characters visible. Bytes that
   are not UTF-8 become U+FFFD. */
void sp_html_text(FILE *out, const char *text, size_t n_bytes);

/* The same of a terminated text, NULL being none. */
void sp_html_string(FILE *out, const char *text);

/* A JSON value as a cell of a table shows it: a text as it is, numbers with six digits, else JSON. */
void sp_html_value(FILE *out, const json_t *value);

/* The page's style, between <style> and </style>. */
extern const char sp_html_style[];
