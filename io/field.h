/* One value of a record beside its text: a member of a JSON object, or a row's value of a column. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef enum sp_field_type {
    SP_FIELD_NULL, /* also: the record has no such field */
    SP_FIELD_TEXT,
    SP_FIELD_INTEGER,
    SP_FIELD_REAL,
    SP_FIELD_OTHER, /* a list, an object, true or false, a date: what nothing here compares */
} sp_field_type;

typedef struct sp_field {
    sp_field_type type;
    const char *text; /* [n_bytes], SP_FIELD_TEXT's; not terminated; borrowed */
    size_t n_bytes;
    int64_t integer; /* SP_FIELD_INTEGER's */
    double real;     /* SP_FIELD_REAL's */
} sp_field;
