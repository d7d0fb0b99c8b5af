#include "run/report_flat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sp_flat_begin(sp_flat *flat, const char *line, size_t n_bytes) {
    *flat = (sp_flat){.at = line, .end = line + n_bytes};
}

static void skip_space(sp_flat *flat) {
    while (flat->at < flat->end && strchr(" \t\r\n", *flat->at) != NULL && *flat->at != '\0')
        flat->at++;
}

static bool take(sp_flat *flat, char c) {
    skip_space(flat);
    if (flat->at == flat->end || *flat->at != c) return false;
    flat->at++;
    return true;
}

/* A text of plain ASCII, without escapes. */
static bool take_text(sp_flat *flat, const char **text, size_t *n_bytes) {
    if (!take(flat, '"')) return false;
    const char *begin = flat->at;
    while (flat->at < flat->end && *flat->at != '"') {
        const unsigned char c = (unsigned char)*flat->at;
        if (c < ' ' || c >= 0x7f || c == '\\') return false;
        flat->at++;
    }
    *text = begin;
    *n_bytes = (size_t)(flat->at - begin);
    return take(flat, '"');
}

static bool take_word(sp_flat *flat, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(flat->end - flat->at) < n || memcmp(flat->at, word, n) != 0) return false;
    flat->at += n;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *skip_digits(const char *c) {
    while (is_digit(*c)) c++;
    return c;
}

/* The end of a number of JSON's, which strtod() is not as strict about; NULL: none is there. */
static const char *number_end(const char *c, bool *is_integer) {
    c += *c == '-';
    if (!is_digit(*c) || (*c == '0' && is_digit(c[1]))) return NULL;
    c = skip_digits(c);
    *is_integer = *c != '.' && *c != 'e' && *c != 'E';
    if (*c == '.') {
        if (!is_digit(c[1])) return NULL;
        c = skip_digits(c + 1);
    }
    if (*c == 'e' || *c == 'E') {
        c += c[1] == '+' || c[1] == '-' ? 2 : 1;
        if (!is_digit(*c)) return NULL;
        c = skip_digits(c);
    }
    return c;
}

static bool take_number(sp_flat *flat, sp_flat_member *member) {
    const double most_integer = 9e18; /* beyond, what is a whole number is not ours to say */
    const char *end = number_end(flat->at, &member->is_integer);
    if (end == NULL) return false;
    member->number = strtod(flat->at, NULL);
    member->is_number = true;
    flat->at = end;
    return isfinite(member->number) && !(member->is_integer && fabs(member->number) > most_integer);
}

static bool take_value(sp_flat *flat, sp_flat_member *member) {
    const char *text = NULL;
    size_t n = 0;
    skip_space(flat);
    if (flat->at == flat->end) return false;
    if (*flat->at == '"') return take_text(flat, &text, &n);
    if (take_word(flat, "null") || take_word(flat, "false")) return true;
    member->is_true = take_word(flat, "true");
    return member->is_true || take_number(flat, member);
}

bool sp_flat_next(sp_flat *flat, sp_flat_member *member) {
    if (flat->is_damaged || flat->is_whole) return false;
    const bool is_first = !flat->has_begun;
    flat->has_begun = true;
    *member = (sp_flat_member){0};
    if (is_first && !take(flat, '{')) {
        flat->is_damaged = true;
        return false;
    }
    if (take(flat, '}')) {
        skip_space(flat);
        flat->is_whole = flat->at == flat->end;
        return false;
    }
    flat->is_damaged = (!is_first && !take(flat, ',')) ||
                       !take_text(flat, &member->key, &member->key_bytes) || !take(flat, ':') ||
                       !take_value(flat, member);
    return !flat->is_damaged;
}
