#include "io/json_line.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 512 }; /* of arrays and objects: bounds the recursion */

typedef struct parser {
    char *begin, *at, *end;
    int depth;
} parser;

typedef enum value_type { STRING, NUMBER, NULL_VALUE, OTHER } value_type;

/* A value and its bytes: decoded for a string, as spelled for others. */
typedef struct value {
    value_type type;
    char *bytes;
    size_t n_bytes;
} value;

static sp_status refuse(const parser *p, const char *what) {
    return sp_fail(SP_BAD_DATA, "column %td: %s", p->at - p->begin + 1, what);
}

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\r' || *p->at == '\n'))
        p->at++;
}

static bool take(parser *p, char c) {
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Four hexadecimal digits at p->at; false leaves it there. */
static bool take_hex4(parser *p, uint32_t *code) {
    if (p->end - p->at < 4) return false;
    uint32_t made = 0;
    for (int i = 0; i < 4; i++) {
        const char c = p->at[i], lower = (char)(c | 0x20);
        if (is_digit(c))
            made = made * 16 + (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            made = made * 16 + (uint32_t)(lower - 'a' + 10);
        else
            return false;
    }
    *code = made;
    p->at += 4;
    return true;
}

static char *put_utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3F));
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

/* \uXXXX, the u already taken: one code point, from two escapes if they are a surrogate pair. */
static sp_status take_unicode_escape(parser *p, uint32_t *code) {
    if (!take_hex4(p, code)) return refuse(p, "\\u without four hexadecimal digits");
    if (*code < 0xD800 || *code > 0xDBFF) return SP_OK;
    char *const after_first = p->at;
    uint32_t low = 0;
    if (take(p, '\\') && take(p, 'u') && take_hex4(p, &low) && low >= 0xDC00 && low <= 0xDFFF)
        *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    else
        p->at = after_first;
    return SP_OK;
}

static sp_status take_escape(parser *p, char **out) {
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    if (take(p, 'u')) {
        uint32_t code = 0;
        SP_TRY(take_unicode_escape(p, &code));
        *out = put_utf8(*out, code);
        return SP_OK;
    }
    const char *name = p->at < p->end && *p->at != '\0' ? strchr(names, *p->at) : NULL;
    if (name == NULL) return refuse(p, "unknown escape in a string");
    p->at++;
    *(*out)++ = codes[name - names];
    return SP_OK;
}

/* A string whose opening quote was taken. Decoded text is never longer than its source, so that it
   is written over it. */
static sp_status take_string(parser *p, value *string) {
    char *const bytes = p->at, *out = bytes;
    for (;;) {
        if (p->at == p->end) return refuse(p, "a string without its closing quote");
        const char c = *p->at;
        if ((unsigned char)c < 0x20) return refuse(p, "a control character in a string");
        p->at++;
        if (c == '"') break;
        if (c == '\\')
            SP_TRY(take_escape(p, &out));
        else
            *out++ = c;
    }
    *string = (value){STRING, bytes, (size_t)(out - bytes)};
    return SP_OK;
}

static bool take_digits(parser *p) {
    const char *const begin = p->at;
    while (p->at < p->end && is_digit(*p->at)) p->at++;
    return p->at > begin;
}

static sp_status take_number(parser *p, value *number) {
    char *const begin = p->at;
    take(p, '-');
    if (!take(p, '0') && !take_digits(p)) return refuse(p, "no JSON value");
    if (take(p, '.') && !take_digits(p)) return refuse(p, "a number without decimals");
    if (take(p, 'e') || take(p, 'E')) {
        if (!take(p, '+')) take(p, '-');
        if (!take_digits(p)) return refuse(p, "a number without its exponent");
    }
    *number = (value){NUMBER, begin, (size_t)(p->at - begin)};
    return SP_OK;
}

static bool take_word(parser *p, const char *word) {
    const size_t n_bytes = strlen(word);
    if ((size_t)(p->end - p->at) < n_bytes || memcmp(p->at, word, n_bytes) != 0) return false;
    p->at += n_bytes;
    return true;
}

static sp_status take_value(parser *p, value *taken);

static sp_status take_array(parser *p) {
    skip_space(p);
    if (take(p, ']')) return SP_OK;
    do {
        value ignored;
        SP_TRY(take_value(p, &ignored));
        skip_space(p);
    } while (take(p, ','));
    return take(p, ']') ? SP_OK : refuse(p, "expected ',' or ']'");
}

/* The members that are wanted, of the outermost object only. */
typedef struct found {
    const sp_json_wanted *wanted;
    value text, id;
} found;

static bool is_named(const value *key, const char *name) {
    return key->n_bytes == strlen(name) && memcmp(key->bytes, name, key->n_bytes) == 0;
}

/* What conditions ask for; a number stays as it is spelled until the whole line is parsed. */
static sp_field field_of(const value *member) {
    static const sp_field_type types[] = {[STRING] = SP_FIELD_TEXT,
                                          [NUMBER] = SP_FIELD_REAL,
                                          [NULL_VALUE] = SP_FIELD_NULL,
                                          [OTHER] = SP_FIELD_OTHER};
    return (sp_field){
        .type = types[member->type], .text = member->bytes, .n_bytes = member->n_bytes};
}

static void note_member(found *members, const value *key, const value *member) {
    const sp_json_wanted *wanted = members->wanted;
    if (is_named(key, wanted->text)) members->text = *member;
    if (is_named(key, "id")) members->id = *member;
    for (size_t i = 0; wanted->where != NULL && i < wanted->where->n; i++)
        if (is_named(key, wanted->where->items[i].name)) wanted->fields[i] = field_of(member);
}

/* An object whose opening brace was taken; `members` may be NULL. */
static sp_status take_object(parser *p, found *members) {
    skip_space(p);
    if (take(p, '}')) return SP_OK;
    do {
        value key, member;
        skip_space(p);
        if (!take(p, '"')) return refuse(p, "expected a member's name");
        SP_TRY(take_string(p, &key));
        skip_space(p);
        if (!take(p, ':')) return refuse(p, "expected ':'");
        SP_TRY(take_value(p, &member));
        if (members != NULL) note_member(members, &key, &member);
        skip_space(p);
    } while (take(p, ','));
    return take(p, '}') ? SP_OK : refuse(p, "expected ',' or '}'");
}

static sp_status take_nested(parser *p) {
    if (++p->depth > MOST_DEPTH) return refuse(p, "nested too deeply");
    const bool is_array = take(p, '[');
    if (!is_array) p->at++; /* the brace */
    SP_TRY(is_array ? take_array(p) : take_object(p, NULL));
    p->depth--;
    return SP_OK;
}

static sp_status take_value(parser *p, value *taken) {
    skip_space(p);
    *taken = (value){OTHER, p->at, 0};
    if (p->at == p->end) return refuse(p, "the line ends where a value belongs");
    if (take(p, '"')) return take_string(p, taken);
    if (*p->at == '[' || *p->at == '{') return take_nested(p);
    if (take_word(p, "true") || take_word(p, "false")) return SP_OK;
    if (take_word(p, "null")) {
        taken->type = NULL_VALUE;
        return SP_OK;
    }
    return take_number(p, taken);
}

/* A number is followed by a blank, comma, brace or bracket, at which conversions stop. */
static void convert_number(sp_field *field) {
    char *end = NULL;
    errno = 0;
    const long long integer = strtoll(field->text, &end, 10);
    const bool is_integer = errno == 0 && end == field->text + field->n_bytes;
    *field = (sp_field){.type = is_integer ? SP_FIELD_INTEGER : SP_FIELD_REAL,
                        .integer = is_integer ? integer : 0,
                        .real = is_integer ? 0 : strtod(field->text, NULL)};
}

static sp_status ask_conditions(const sp_json_wanted *wanted, bool *hold) {
    *hold = true;
    if (wanted->where == NULL) return SP_OK;
    for (size_t i = 0; i < wanted->where->n; i++)
        if (wanted->fields[i].type == SP_FIELD_REAL) convert_number(&wanted->fields[i]);
    return sp_conditions_hold(wanted->where, wanted->fields, hold);
}

static sp_status check_id(const value *id) {
    if (id->type == OTHER) return sp_fail(SP_BAD_DATA, "field 'id' is no string or number");
    if (id->n_bytes > 0 && memchr(id->bytes, '\0', id->n_bytes) != NULL)
        return sp_fail(SP_BAD_DATA, "field 'id' has a NUL in it");
    return SP_OK;
}

sp_status sp_json_line_parse(sp_json_line *fields, const sp_json_wanted *wanted, char *line,
                             size_t n_bytes) {
    parser p = {line, line, line + n_bytes, 0};
    found members = {.wanted = wanted, .id = {.type = NULL_VALUE}};
    for (size_t i = 0; wanted->where != NULL && i < wanted->where->n; i++)
        wanted->fields[i] = (sp_field){0};
    skip_space(&p);
    if (!take(&p, '{')) return refuse(&p, "not a JSON object");
    SP_TRY(take_object(&p, &members));
    const value text = members.text, id = members.id;
    skip_space(&p);
    if (p.at < p.end) return refuse(&p, "something follows the object");

    bool is_wanted = false;
    SP_TRY(ask_conditions(wanted, &is_wanted));
    if (is_wanted) {
        if (text.bytes == NULL) return sp_fail(SP_BAD_DATA, "no field '%s'", wanted->text);
        if (text.type != STRING)
            return sp_fail(SP_BAD_DATA, "field '%s' is not a string", wanted->text);
    }
    const sp_status id_status = check_id(&id);
    if (is_wanted) SP_TRY(id_status);
    *fields = (sp_json_line){.is_wanted = is_wanted};
    if (is_wanted) {
        fields->text = text.bytes;
        fields->text_len = text.n_bytes;
    }
    if (id_status == SP_OK && id.type != NULL_VALUE && id.n_bytes > 0) {
        /* A quote, comma, brace or decoded-away byte stood here, and all of the line is parsed. */
        id.bytes[id.n_bytes] = '\0';
        fields->id = id.bytes;
    }
    return SP_OK;
}
