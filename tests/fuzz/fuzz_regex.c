/* Patterns of tokenizer.json, and a text: a line each. */
#include "text/regex.h"
#include "text/unicode.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void search(const sp_regex *regex, const char *text, size_t n_bytes) {
    enum { MOST_MATCHES = 64 };
    sp_regex_search *search = NULL;
    sp_regex_walk walk = {0};
    bool found = true;
    if (sp_regex_search_create(&search) != SP_OK) return;
    for (size_t i = 0; found && i < MOST_MATCHES; i++) {
        size_t begin = 0, end = 0;
        if (sp_regex_walk_next(regex, search, &walk, text, n_bytes, &found, &begin, &end) != SP_OK)
            break;
        if (found && (begin > end || end > n_bytes)) __builtin_trap();
    }
    sp_regex_search_destroy(search);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    const char *pattern = (const char *)data;
    const char *line_end = n_bytes > 0 ? memchr(data, '\n', n_bytes) : NULL;
    const size_t n_pattern = line_end != NULL ? (size_t)(line_end - pattern) : n_bytes;
    const char *text = line_end != NULL ? line_end + 1 : pattern;
    const size_t n_text =
        sp_utf8_valid_prefix(text, line_end != NULL ? n_bytes - n_pattern - 1 : n_bytes);
    for (int is_literal = 0; is_literal < 2; is_literal++) {
        sp_regex *regex = NULL;
        if (sp_regex_create(&regex, pattern, n_pattern, is_literal) != SP_OK) continue;
        search(regex, text, n_text);
        sp_regex_destroy(regex);
    }
    return 0;
}
