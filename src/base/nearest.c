#include "base/nearest.h"

#include <string.h>

enum { LENGTH_LIMIT = 255 };

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

size_t sp_edit_distance(const char *a, const char *b) {
    const size_t a_len = strnlen(a, LENGTH_LIMIT), b_len = strnlen(b, LENGTH_LIMIT);
    size_t row[LENGTH_LIMIT + 1]; /* row[j]: from the first i bytes of a to the first j of b */
    for (size_t j = 0; j <= b_len; j++) row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = min(replaced, 1 + min(row[j], row[j - 1]));
        }
    }
    return row[b_len];
}
