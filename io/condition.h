/* Conditions on the fields of a record: which documents of a corpus are wanted.

       NAME OP VALUE     language_score >= 0.8     language = en     date < '2020-01-01'

   OP is one of = (or ==) != < <= > >=. The value may stand in quotes, " or '; blanks around the parts do
   not count. A text is compared by its bytes, a number as a number (two integers exactly). A field
   that is null or NaN, or that a JSON object does not have, fails every condition. */
#pragma once

#include "base/status.h"
#include "io/field.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sp_comparison {
    SP_EQUAL,
    SP_UNEQUAL,
    SP_LESS,
    SP_LESS_EQUAL,
    SP_GREATER,
    SP_GREATER_EQUAL
} sp_comparison;

typedef struct sp_condition {
    char *name; /* owned, with the value in the same block */
    const char *value;
    sp_comparison comparison;
    bool is_number, is_integer; /* the value may be read as one */
    int64_t integer;
    double real;
} sp_condition;

/* Parses `text` into *condition, to be freed by sp_condition_free(). SP_USAGE: not of the form. */
SP_NODISCARD sp_status sp_condition_parse(sp_condition *condition, const char *text);
void sp_condition_free(sp_condition *condition);

/* Conditions that must all hold. All-zero: everything does. */
typedef struct sp_conditions {
    sp_condition *items; /* [n], owned by whoever made the array */
    size_t n;
} sp_conditions;

/* Can the condition be asked of fields of this type? SP_BAD_DATA: a number is compared with a value
   that is none, or the type is SP_FIELD_OTHER; the message names the field, and the caller puts the
   file before it. */
SP_NODISCARD sp_status sp_condition_check(const sp_condition *condition, sp_field_type type);

/* Does it hold for the field, whose type has passed the check? */
bool sp_condition_holds(const sp_condition *condition, const sp_field *field);

/* Sets *hold if all conditions hold for fields [n], in their order. SP_BAD_DATA: as above. */
SP_NODISCARD sp_status sp_conditions_hold(const sp_conditions *conditions, const sp_field *fields,
                                          bool *hold);
