#include "io/condition.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* The operator at `text`, and its length; 0: none. */
static size_t find_operator(sp_comparison *comparison, const char *text) {
    static const struct {
        const char *spelling;
        sp_comparison comparison;
    } operators[] = {{"!=", SP_UNEQUAL}, {"<=", SP_LESS_EQUAL}, {">=", SP_GREATER_EQUAL},
                     {"==", SP_EQUAL},   {"=", SP_EQUAL},       {"<", SP_LESS},
                     {">", SP_GREATER}};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        const size_t n = strlen(operators[i].spelling);
        if (strncmp(text, operators[i].spelling, n) != 0) continue;
        *comparison = operators[i].comparison;
        return n;
    }
    return 0;
}

static sp_status refuse(const char *text) {
    return sp_fail(SP_USAGE,
                   "'%s' is no condition; one reads NAME OP VALUE, OP being =, !=, <, <=, > or >=, "
                   "such as 'language_score >= 0.8'",
                   text);
}

static void read_number(sp_condition *condition) {
    char *end = NULL;
    errno = 0;
    condition->real = strtod(condition->value, &end);
    condition->is_number = *condition->value != '\0' && !is_blank(*condition->value) &&
                           *end == '\0' && isfinite(condition->real);
    errno = 0;
    condition->integer = strtoll(condition->value, &end, 10);
    condition->is_integer = condition->is_number && *end == '\0' && errno == 0;
}

sp_status sp_condition_parse(sp_condition *condition, const char *text) {
    sp_condition made = {0};
    while (is_blank(*text)) text++;
    const size_t n_before = strcspn(text, "=!<>"); /* a name holds none of these */
    size_t name_len = n_before;
    while (name_len > 0 && is_blank(text[name_len - 1])) name_len--;
    const size_t operator_len = find_operator(&made.comparison, text + n_before);
    if (name_len == 0 || operator_len == 0) return refuse(text);

    const char *value = text + n_before + operator_len;
    while (is_blank(*value)) value++;
    size_t value_len = strlen(value);
    while (value_len > 0 && is_blank(value[value_len - 1])) value_len--;
    const bool is_quoted =
        value_len >= 2 && (*value == '"' || *value == '\'') && value[value_len - 1] == *value;
    if (value_len == 0) return refuse(text); /* an empty text is '' */

    char *block = malloc(name_len + value_len + 2);
    if (block == NULL) return sp_fail(SP_FAILURE, "no memory for the condition '%s'", text);
    made.name = block;
    memcpy(block, text, name_len);
    block[name_len] = '\0';
    char *kept = block + name_len + 1;
    value_len -= is_quoted ? 2 : 0;
    memcpy(kept, value + is_quoted, value_len);
    kept[value_len] = '\0';
    made.value = kept;
    read_number(&made);
    *condition = made;
    return SP_OK;
}

void sp_condition_free(sp_condition *condition) {
    free(condition->name);
    *condition = (sp_condition){0};
}

sp_status sp_condition_check(const sp_condition *condition, sp_field_type type) {
    if (type == SP_FIELD_OTHER)
        return sp_fail(SP_BAD_DATA, "'%s' is neither text nor a number", condition->name);
    if ((type == SP_FIELD_INTEGER || type == SP_FIELD_REAL) && !condition->is_number)
        return sp_fail(SP_BAD_DATA, "'%s' is a number, and is compared with '%s'", condition->name,
                       condition->value);
    return SP_OK;
}

static int order_of_texts(const sp_field *field, const char *value) {
    const size_t n = strlen(value), n_common = field->n_bytes < n ? field->n_bytes : n;
    const int order = n_common > 0 ? memcmp(field->text, value, n_common) : 0;
    if (order != 0) return order;
    return (field->n_bytes > n) - (field->n_bytes < n);
}

static int order_of_numbers(const sp_field *field, const sp_condition *condition) {
    if (field->type == SP_FIELD_INTEGER && condition->is_integer)
        return (field->integer > condition->integer) - (field->integer < condition->integer);
    const double value = field->type == SP_FIELD_INTEGER ? (double)field->integer : field->real;
    return (value > condition->real) - (value < condition->real);
}

bool sp_condition_holds(const sp_condition *condition, const sp_field *field) {
    if (field->type == SP_FIELD_NULL) return false;
    if (field->type == SP_FIELD_REAL && isnan(field->real)) return false;
    const int order = field->type == SP_FIELD_TEXT ? order_of_texts(field, condition->value)
                                                   : order_of_numbers(field, condition);
    switch (condition->comparison) {
    case SP_EQUAL:
        return order == 0;
    case SP_UNEQUAL:
        return order != 0;
    case SP_LESS:
        return order < 0;
    case SP_LESS_EQUAL:
        return order <= 0;
    case SP_GREATER:
        return order > 0;
    case SP_GREATER_EQUAL:
        return order >= 0;
    }
    return false;
}

sp_status sp_conditions_hold(const sp_conditions *conditions, const sp_field *fields, bool *hold) {
    bool all_hold = true;
    for (size_t i = 0; i < conditions->n; i++) {
        SP_TRY(sp_condition_check(&conditions->items[i], fields[i].type));
        all_hold = all_hold && sp_condition_holds(&conditions->items[i], &fields[i]);
    }
    *hold = all_hold;
    return SP_OK;
}
