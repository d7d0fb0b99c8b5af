#include "text/json_text.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

json_t *sp_json_from_bytes(const char *text, size_t n_bytes) {
    static const char replacement[] = "\xEF\xBF\xBD";
    char *valid = malloc(3 * n_bytes + 1);
    if (valid == NULL) return NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t character;
        const size_t length = sp_utf8_decode(&character, text + i, n_bytes - i);
        if (length > 0)
            memcpy(valid + n, text + i, length);
        else
            memcpy(valid + n, replacement, 3);
        n += length > 0 ? length : 3;
        i += length > 0 ? length : 1;
    }
    json_t *string = json_stringn(valid, n);
    free(valid);
    return string;
}
