#define PCRE2_CODE_UNIT_WIDTH 8

#include "text/regex.h"

#include "text/regex_dialect.h"
#include "text/unicode.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct sp_regex {
    pcre2_code *code;
    char *pattern; /* as it was given */
    bool is_literal;
};

struct sp_regex_search {
    pcre2_match_data *match_data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    size_t limited_for; /* bytes of text that the limit of steps was set for */
};

/* A step is about one backtrack. A single match may try each of a run's lengths in each of the
   alternatives, so that some tens of steps a byte are in order; what grows faster is cut off. */
static const size_t BASE_STEPS = 1000000, STEPS_PER_BYTE = 32;
enum {
    HEAP_LIMIT_KIB = 256 << 10, /* of the interpreter */
    DEPTH_LIMIT = 10000000,
    STACK_BYTES = 32 << 10, /* of compiled patterns */
    STACK_LIMIT_BYTES = 8 << 20
};

static sp_status compile(sp_regex *regex, const char *pattern, size_t n_bytes, uint32_t options) {
    int error = 0;
    size_t offset = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL) return sp_fail(SP_FAILURE, "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* whatever the library was built with */
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, n_bytes, options, &error, &offset, context);
    pcre2_compile_context_free(context);
    if (regex->code == NULL) {
        char reason[120];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
        return sp_fail(SP_BAD_DATA, "pattern '%s', offset %zu: %s", regex->pattern, offset, reason);
    }
    /* where the machine code cannot be made or run, the interpreter serves */
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    return SP_OK;
}

static sp_status translate_and_compile(sp_regex *regex, const char *pattern, size_t n_bytes) {
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    char *translated = NULL;
    size_t translated_len = 0;
    if (sp_regex_translate(&translated, &translated_len, pattern, n_bytes) != SP_OK)
        return sp_fail(SP_BAD_DATA, "pattern '%s': %s", regex->pattern, sp_message());
    const sp_status status = compile(regex, translated, translated_len, options);
    free(translated);
    return status;
}

sp_status sp_regex_create(sp_regex **regex, const char *pattern, size_t n_bytes, bool is_literal) {
    sp_regex *result = calloc(1, sizeof *result);
    if (result != NULL) {
        result->pattern = strndup(pattern, n_bytes);
        result->is_literal = is_literal;
    }
    if (result == NULL || result->pattern == NULL) {
        sp_regex_destroy(result);
        return sp_fail(SP_FAILURE, "no memory for a pattern of %zu bytes", n_bytes);
    }
    const sp_status status = is_literal
                                 ? compile(result, pattern, n_bytes, PCRE2_UTF | PCRE2_LITERAL)
                                 : translate_and_compile(result, pattern, n_bytes);
    if (status == SP_OK)
        *regex = result;
    else
        sp_regex_destroy(result);
    return status;
}

void sp_regex_destroy(sp_regex *regex) {
    if (regex == NULL) return;
    pcre2_code_free(regex->code);
    free(regex->pattern);
    free(regex);
}

const char *sp_regex_pattern(const sp_regex *regex) { return regex->pattern; }

bool sp_regex_is_literal(const sp_regex *regex) { return regex->is_literal; }

sp_status sp_regex_search_create(sp_regex_search **search) {
    sp_regex_search *result = calloc(1, sizeof *result);
    if (result != NULL) {
        result->match_data = pcre2_match_data_create(1, NULL);
        result->context = pcre2_match_context_create(NULL);
        result->stack = pcre2_jit_stack_create(STACK_BYTES, STACK_LIMIT_BYTES, NULL);
    }
    /* without JIT there is no stack, and none is needed */
    if (result == NULL || result->match_data == NULL || result->context == NULL) {
        sp_regex_search_destroy(result);
        return sp_fail(SP_FAILURE, "no memory to match patterns");
    }
    pcre2_set_heap_limit(result->context, HEAP_LIMIT_KIB);
    pcre2_set_depth_limit(result->context, DEPTH_LIMIT);
    pcre2_jit_stack_assign(result->context, NULL, result->stack);
    *search = result;
    return SP_OK;
}

void sp_regex_search_destroy(sp_regex_search *search) {
    if (search == NULL) return;
    pcre2_jit_stack_free(search->stack);
    pcre2_match_context_free(search->context);
    pcre2_match_data_free(search->match_data);
    free(search);
}

static void limit_steps(sp_regex_search *search, size_t n_bytes) {
    if (search->limited_for == n_bytes && n_bytes != 0) return;
    const size_t room = (UINT32_MAX - BASE_STEPS) / STEPS_PER_BYTE;
    const size_t steps = n_bytes < room ? BASE_STEPS + STEPS_PER_BYTE * n_bytes : UINT32_MAX;
    pcre2_set_match_limit(search->context, (uint32_t)steps);
    search->limited_for = n_bytes;
}

sp_status sp_regex_find(const sp_regex *regex, sp_regex_search *search, const char *text,
                        size_t n_bytes, size_t from, bool *found, size_t *begin, size_t *end) {
    limit_steps(search, n_bytes);
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, n_bytes, from, PCRE2_NO_UTF_CHECK,
                         search->match_data, search->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, n_bytes, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, search->match_data, search->context);
    if (rc == PCRE2_ERROR_NOMATCH) {
        *found = false;
        return SP_OK;
    }
    if (rc < 0) {
        char reason[120];
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)reason, sizeof reason);
        return sp_fail(SP_BAD_DATA, "pattern '%s' on %zu bytes of text: %s", regex->pattern,
                       n_bytes, reason);
    }
    const size_t *bounds = pcre2_get_ovector_pointer(search->match_data);
    *found = true;
    *begin = bounds[0];
    *end = bounds[1];
    return SP_OK;
}

sp_status sp_regex_walk_next(const sp_regex *regex, sp_regex_search *search, sp_regex_walk *walk,
                             const char *text, size_t n_bytes, bool *found, size_t *begin,
                             size_t *end) {
    while (walk->search_from <= n_bytes) {
        SP_TRY(sp_regex_find(regex, search, text, n_bytes, walk->search_from, found, begin, end));
        if (!*found) break;
        if (*begin == *end && walk->has_last && *end == walk->last_end) {
            uint32_t character;
            const size_t len = sp_utf8_decode(&character, text + *end, n_bytes - *end);
            walk->search_from = *end + (len > 0 ? len : 1);
            continue;
        }
        walk->search_from = walk->last_end = *end;
        walk->has_last = true;
        return SP_OK;
    }
    walk->search_from = n_bytes + 1;
    *found = false;
    return SP_OK;
}
