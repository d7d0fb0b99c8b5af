#include "text/replacement.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

static sp_status copy_string(char **copy, size_t *len, const char *string) {
    *len = strlen(string);
    *copy = strdup(string);
    return *copy != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a replacement");
}

sp_status sp_replacement_create(sp_replacement *replacement, const char *literal,
                                const char *content) {
    sp_replacement made = {0};
    sp_status status = copy_string(&made.literal, &made.literal_len, literal);
    if (status == SP_OK) status = copy_string(&made.content, &made.content_len, content);
    if (status == SP_OK)
        *replacement = made;
    else
        sp_replacement_free(&made);
    return status;
}

static sp_status read_members(sp_replacement *replacement, const json_t *object, const char *name) {
    const json_t *pattern = json_object_get(object, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const char *value = json_string_value(regex != NULL ? regex : literal), *content = NULL;
    if (value == NULL || (regex == NULL && value[0] == '\0'))
        return sp_fail(SP_BAD_DATA, "'%s': Replace's pattern is no Regex or String", name);
    SP_TRY(sp_json_get_string(&content, object, "content", name));
    if (content == NULL) return sp_fail(SP_BAD_DATA, "'%s': Replace has no 'content'", name);
    SP_TRY(copy_string(&replacement->content, &replacement->content_len, content));
    if (regex == NULL) return copy_string(&replacement->literal, &replacement->literal_len, value);
    const sp_status status =
        sp_regex_create(&replacement->regex, value, json_string_length(regex), false);
    return status == SP_OK ? SP_OK : sp_fail(status, "'%s': Replace: %s", name, sp_message());
}

sp_status sp_replacement_read(sp_replacement *replacement, const json_t *object, const char *name) {
    sp_replacement read = {0};
    const sp_status status = read_members(&read, object, name);
    if (status == SP_OK)
        *replacement = read;
    else
        sp_replacement_free(&read);
    return status;
}

void sp_replacement_free(sp_replacement *replacement) {
    sp_regex_destroy(replacement->regex);
    free(replacement->literal);
    free(replacement->content);
    *replacement = (sp_replacement){0};
}

static sp_status put_content(const sp_replacement *replacement, sp_aligned_text *replaced,
                             size_t begin, size_t end) {
    return sp_aligned_replace(replaced, begin, end, replacement->content, replacement->content_len);
}

static sp_status replace_literal(const sp_replacement *replacement, sp_aligned_text *replaced,
                                 const char *text, size_t n_bytes) {
    const char *end = text + n_bytes, *found;
    for (const char *from = text; from < end; from = found + replacement->literal_len) {
        found = memmem(from, (size_t)(end - from), replacement->literal, replacement->literal_len);
        if (found == NULL) break;
        const size_t begin = (size_t)(found - text);
        SP_TRY(put_content(replacement, replaced, begin, begin + replacement->literal_len));
    }
    return SP_OK;
}

/* Replaces the matches in n_bytes of valid UTF-8 that begin at `offset` of the whole text. */
static sp_status replace_matches(const sp_replacement *replacement, sp_regex_search *search,
                                 sp_aligned_text *replaced, const char *text, size_t n_bytes,
                                 size_t offset) {
    sp_regex_walk walk = {0};
    for (;;) {
        size_t begin = 0, end = 0;
        bool found = false;
        SP_TRY(sp_regex_walk_next(replacement->regex, search, &walk, text, n_bytes, &found, &begin,
                                  &end));
        if (!found) return SP_OK;
        SP_TRY(put_content(replacement, replaced, offset + begin, offset + end));
    }
}

sp_status sp_replacement_apply(const sp_replacement *replacement, sp_regex_search *search,
                               sp_aligned_text *replaced, const char *text, size_t n_bytes) {
    sp_aligned_begin(replaced, text, n_bytes);
    if (replacement->regex == NULL) {
        SP_TRY(replace_literal(replacement, replaced, text, n_bytes));
        return sp_aligned_end(replaced);
    }
    for (size_t at = 0; at < n_bytes; at += sp_utf8_invalid_prefix(text + at, n_bytes - at)) {
        const size_t valid = sp_utf8_valid_prefix(text + at, n_bytes - at);
        SP_TRY(replace_matches(replacement, search, replaced, text + at, valid, at));
        at += valid;
    }
    return sp_aligned_end(replaced);
}
