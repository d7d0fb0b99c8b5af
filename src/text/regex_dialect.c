#include "text/regex_dialect.h"

#include "text/later_characters.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As they stand between the brackets of a set. */
#define SPACE                                                                       \
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}" \
    "\\x{205F}\\x{3000}"
#define NOT_SPACE                                                                             \
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}!-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}" \
    "\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}"            \
    "\\x{3001}-\\x{10FFFF}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside a set, \w and \b know some numbers of Latin-1 too. */
#define LONE_WORD WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

/* Escapes by letter: what stands for them alone, and within a set (NULL: refused there). */
typedef struct escape {
    char letter;
    const char *alone, *in_set;
} escape;

/* clang-format off */
static const escape escapes[] = {
    {'s', "[" SPACE "]",     SPACE},
    {'S', "[^" SPACE "]",    NOT_SPACE},
    {'w', "[" LONE_WORD "]", WORD},
    {'W', "[^" LONE_WORD "]", NULL},
    {'d', "\\p{Nd}",         "\\p{Nd}"},
    {'D', "\\P{Nd}",         "\\P{Nd}"},
    {'h', "[0-9A-Fa-f]",     "0-9A-Fa-f"},
    {'H', "[^0-9A-Fa-f]",    NULL},
    {'v', "\\x{B}",          "\\x{B}"},
    {'b', "(?:(?<=[" LONE_WORD "])(?![" LONE_WORD "])|(?<![" LONE_WORD "])(?=[" LONE_WORD "]))", "\\x{8}"},
    {'B', "(?:(?<=[" LONE_WORD "])(?=[" LONE_WORD "])|(?<![" LONE_WORD "])(?![" LONE_WORD "]))", NULL},
};

static const struct {
    const char *name, *in_set;
} posix_sets[] = {
    {"alnum",  "\\p{Alphabetic}\\p{Nd}"},
    {"alpha",  "\\p{Alphabetic}"},
    {"digit",  "\\p{Nd}"},
    {"lower",  "\\p{Lowercase}"},
    {"punct",  "\\p{P}\\p{S}"},
    {"space",  SPACE},
    {"upper",  "\\p{Uppercase}"},
    {"word",   WORD},
    {"xdigit", "0-9A-Fa-f"},
};
/* clang-format on */

/* Scripts by name mean those alone here, while PCRE2 takes their extensions in. */
static const char *const scripts[] = {"Arabic",    "Armenian", "Bengali", "Cyrillic", "Devanagari",
                                      "Ethiopic",  "Georgian", "Greek",   "Gujarati", "Gurmukhi",
                                      "Han",       "Hangul",   "Hebrew",  "Hiragana", "Kannada",
                                      "Katakana",  "Khmer",    "Lao",     "Latin",    "Malayalam",
                                      "Mongolian", "Myanmar",  "Oriya",   "Sinhala",  "Syriac",
                                      "Tamil",     "Telugu",   "Thai",    "Tibetan"};

/* Letters and digits that mean the same after a backslash in both dialects. */
static const char same_escapes[] = "0123456789AGNPRXZaefgknprtxz";

enum {
    MAX_PATTERN = 16384, /* bytes; the longest in use has some 500 */
    MAX_GROUPS = 256,    /* nested */
    MAX_GROWTH = 192     /* bytes written for each one read, at most */
};

_Static_assert(sizeof NOT_SPACE < 2 * MAX_GROWTH && 4 * sizeof LONE_WORD + 60 < 2 * MAX_GROWTH,
               "the longest replacements, of two bytes each, have room");

typedef struct translation {
    const char *in; /* borrowed */
    size_t n_in, at;
    char *out; /* owned, [MAX_GROWTH * n_in] */
    size_t n_out;
    size_t atom;               /* where in `out` the last atom begins: what a repeat applies to */
    size_t groups[MAX_GROUPS]; /* where in `out` the open groups begin */
    size_t n_groups;
} translation;

static sp_status refuse(const translation *t, const char *what) {
    return sp_fail(SP_BAD_DATA, "%s at offset %zu is not supported", what, t->at);
}

/* The byte `ahead` of the present one; NUL beyond the end. */
static char peek(const translation *t, size_t ahead) {
    return t->at + ahead < t->n_in ? t->in[t->at + ahead] : '\0';
}

static void put(translation *t, const char *text) {
    const size_t len = strlen(text);
    memcpy(t->out + t->n_out, text, len);
    t->n_out += len;
}

static void copy(translation *t, size_t n) {
    memcpy(t->out + t->n_out, t->in + t->at, n);
    t->n_out += n;
    t->at += n;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const escape *find_escape(char letter) {
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        if (escapes[i].letter == letter) return &escapes[i];
    return NULL;
}

static bool is_script(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        if (strlen(scripts[i]) == len && memcmp(scripts[i], name, len) == 0) return true;
    return false;
}

/* Puts a general category, joined with the characters that PCRE2 does not know to be of it. */
static void put_category(translation *t, const char *name, size_t len, bool in_set, bool negated) {
    if (!in_set) put(t, negated ? "[^" : "[");
    put(t, "\\p{");
    memcpy(t->out + t->n_out, name, len);
    t->n_out += len;
    put(t, "}");
    t->n_out += sp_later_characters(t->out + t->n_out, name, len);
    if (!in_set) put(t, "]");
}

/* \p{..}, \x{..}: copied with what is in the braces. (A negated category in a set stays PCRE2's.) */
static sp_status copy_braced_escape(translation *t, bool in_set) {
    const bool has_caret = peek(t, 3) == '^';
    const size_t begin = has_caret ? 4 : 3;
    size_t end = begin;
    while (t->at + end < t->n_in && peek(t, end) != '}') end++;
    if (t->at + end == t->n_in) return refuse(t, "'{' without '}'");
    const char *name = t->in + t->at + begin;
    const bool of_script = is_script(name, end - begin);
    const bool negated = has_caret != (peek(t, 1) == 'P');
    if (peek(t, 1) != 'x' && !(in_set && negated) &&
        sp_later_characters(NULL, name, end - begin) > 0) {
        put_category(t, name, end - begin, in_set, negated);
        t->at += end + 1;
        return SP_OK;
    }
    copy(t, begin);
    if (of_script) put(t, "sc:");
    copy(t, end + 1 - begin);
    return SP_OK;
}

/* An escape that is the same in both dialects, with what belongs to it. */
static sp_status copy_escape(translation *t, bool in_set) {
    const char letter = peek(t, 1);
    size_t n = 2;
    if (strchr("pPx", letter) != NULL && peek(t, 2) == '{') return copy_braced_escape(t, in_set);
    while (letter == 'x' && n < 4 && is_hex(peek(t, n))) n++;
    copy(t, n);
    return SP_OK;
}

static sp_status put_code_point(translation *t) {
    for (size_t i = 2; i < 6; i++)
        if (!is_hex(peek(t, i))) return refuse(t, "\\u without four digits");
    put(t, "\\x{");
    t->at += 2;
    copy(t, 4);
    put(t, "}");
    return SP_OK;
}

/* At a backslash. */
static sp_status translate_escape(translation *t, bool in_set) {
    const char letter = peek(t, 1);
    if (letter == '\0') return refuse(t, "a backslash before nothing");
    const escape *found = find_escape(letter);
    if (found != NULL) {
        const char *replacement = in_set ? found->in_set : found->alone;
        if (replacement == NULL) return refuse(t, "a negated escape in a set");
        put(t, replacement);
        t->at += 2;
        return SP_OK;
    }
    if (letter == 'u') return put_code_point(t);
    const bool is_letter = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (is_letter && strchr(same_escapes, letter) == NULL) return refuse(t, "an unknown escape");
    return copy_escape(t, in_set);
}

/* At "[:" within a set. */
static sp_status translate_posix_set(translation *t) {
    for (size_t i = 0; i < sizeof posix_sets / sizeof *posix_sets; i++) {
        const char *name = posix_sets[i].name;
        const size_t len = strlen(name);
        if (t->n_in - t->at < len + 4 || memcmp(t->in + t->at + 2, name, len) != 0 ||
            memcmp(t->in + t->at + 2 + len, ":]", 2) != 0)
            continue;
        put(t, posix_sets[i].in_set);
        t->at += len + 4;
        return SP_OK;
    }
    return refuse(t, "such a [: :] set");
}

/* Whether the '-' at hand can only be itself: before a set or a class. */
static bool begins_no_range(const translation *t) {
    return peek(t, 1) == '[' || (peek(t, 1) == '\\' && find_escape(peek(t, 2)) != NULL);
}

/* At the '[' of an outermost set. The brackets of sets within go, since they only join. */
static sp_status translate_set(translation *t) {
    size_t depth = 1;
    bool after_class = false; /* where '-' is no range either */
    copy(t, peek(t, 1) == '^' ? 2 : 1);
    if (peek(t, 0) == ']') {
        put(t, "\\]");
        t->at++;
    }
    while (t->at < t->n_in) {
        const char c = peek(t, 0);
        if (c == '[' && peek(t, 1) == ':') {
            SP_TRY(translate_posix_set(t));
            after_class = true;
        } else if (c == '[') {
            if (peek(t, 1) == '^') return refuse(t, "a negated set within a set");
            depth++;
            t->at++;
            after_class = false;
        } else if (c == ']') {
            after_class = true;
            if (--depth == 0) {
                copy(t, 1);
                return SP_OK;
            }
            t->at++;
        } else if (c == '&' && peek(t, 1) == '&') {
            return refuse(t, "an intersection of sets");
        } else if (c == '\\') {
            after_class = find_escape(peek(t, 1)) != NULL;
            SP_TRY(translate_escape(t, true));
        } else if (c == '-' && (after_class || begins_no_range(t))) {
            put(t, "\\-");
            t->at++;
            after_class = false;
        } else {
            copy(t, 1);
            after_class = false;
        }
    }
    return refuse(t, "'[' without ']'");
}

/* (?imx-imx) and (?imx-imx: ; at the first flag. */
static sp_status translate_flags(translation *t) {
    const bool at_start = t->at == 2;
    for (; strchr("imx-", peek(t, 0)) != NULL && peek(t, 0) != '\0'; t->at++)
        put(t, (char[]){peek(t, 0) == 'm' ? 's' : peek(t, 0), '\0'});
    if (peek(t, 0) == ':') return SP_OK;
    /* set within a group, flags would reach over the following alternatives in one dialect only */
    if (peek(t, 0) == ')' && at_start) return SP_OK;
    return refuse(t, "this '(?'");
}

/* At "(?#"; a comment leaves nothing behind. */
static sp_status skip_comment(translation *t) {
    const char *end = memchr(t->in + t->at, ')', t->n_in - t->at);
    if (end == NULL) return refuse(t, "'(?#' without ')'");
    t->at = (size_t)(end - t->in) + 1;
    return SP_OK;
}

/* At a '('. */
static sp_status open_group(translation *t) {
    if (peek(t, 1) == '*') return refuse(t, "'(*'");
    if (peek(t, 1) == '?' && peek(t, 2) == '#') return skip_comment(t);
    if (t->n_groups == MAX_GROUPS) return refuse(t, "nesting of more than 256 groups");
    t->groups[t->n_groups++] = t->n_out;
    if (peek(t, 1) != '?') {
        copy(t, 1);
        return SP_OK;
    }
    copy(t, 2);
    if (peek(t, 0) != '\0' && strchr("imx-", peek(t, 0)) != NULL) return translate_flags(t);
    if (peek(t, 0) == '\0' || strchr(":=!><", peek(t, 0)) == NULL) return refuse(t, "this '(?'");
    copy(t, 1);
    return SP_OK;
}

/* Length of the interval {n} {n,} {n,m} {,m} at hand, 0 if it is none; *is_fixed for {n}. */
static size_t interval_length(const translation *t, bool *is_fixed) {
    size_t n = 1, digits = 0;
    for (; is_digit(peek(t, n)); n++) digits++;
    *is_fixed = peek(t, n) != ',';
    if (!*is_fixed) n++;
    for (; !*is_fixed && is_digit(peek(t, n)); n++) digits++;
    return peek(t, n) == '}' && digits > 0 ? n + 1 : 0;
}

/* Puts "(?:" before the last atom, and ")" after it with its repeat. */
static void wrap_atom(translation *t) {
    memmove(t->out + t->atom + 3, t->out + t->atom, t->n_out - t->atom);
    memcpy(t->out + t->atom, "(?:", 3);
    t->n_out += 3;
    put(t, ")");
}

/* At a '{' outside sets. */
static void translate_interval(translation *t) {
    bool is_fixed;
    const size_t n = interval_length(t, &is_fixed);
    if (n == 0) {
        t->atom = t->n_out;
        put(t, "\\{");
        t->at++;
        return;
    }
    if (peek(t, 1) == ',') {
        put(t, "{0");
        t->at++;
        copy(t, n - 1);
    } else {
        copy(t, n);
    }
    /* repeats the interval here, and would make it possessive or lazy in PCRE2 */
    if (peek(t, 0) == '+' || (peek(t, 0) == '?' && is_fixed)) wrap_atom(t);
}

static sp_status translate_next(translation *t) {
    const char c = peek(t, 0);
    const bool continues_character = ((unsigned char)c & 0xC0) == 0x80;
    if (strchr("?*+|", c) == NULL && c != '{' && c != ')' && !continues_character)
        t->atom = t->n_out;
    switch (c) {
    case '\\':
        return translate_escape(t, false);
    case '[':
        return translate_set(t);
    case '(':
        return open_group(t);
    case '{':
        translate_interval(t);
        return SP_OK;
    case ')':
        if (t->n_groups == 0) return refuse(t, "')' without '('");
        t->atom = t->groups[--t->n_groups];
        copy(t, 1);
        return SP_OK;
    default:
        copy(t, 1);
        return SP_OK;
    }
}

sp_status sp_regex_translate(char **translated, size_t *translated_len, const char *pattern,
                             size_t n_bytes) {
    if (n_bytes > MAX_PATTERN || memchr(pattern, '\0', n_bytes) != NULL)
        return sp_fail(SP_BAD_DATA, "a pattern of more than %d bytes, or with NULs, is refused",
                       MAX_PATTERN);
    translation t = {.in = pattern, .n_in = n_bytes, .out = malloc(n_bytes * MAX_GROWTH + 1)};
    if (t.out == NULL) return sp_fail(SP_FAILURE, "no memory for a pattern of %zu bytes", n_bytes);
    while (t.at < t.n_in) {
        const sp_status status = translate_next(&t);
        if (status != SP_OK) {
            free(t.out);
            return status;
        }
    }
    *translated = t.out;
    *translated_len = t.n_out;
    return SP_OK;
}
