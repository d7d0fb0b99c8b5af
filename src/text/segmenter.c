#include "text/segmenter.h"

/* A byte that goes on with a character is 10xxxxxx. */
static bool splits_character(const char *text, size_t n_bytes, size_t at) {
    return at < n_bytes && ((unsigned char)text[at] & 0xC0) == 0x80;
}

/* Of tokens with one end, which together stand for what the tokenizer changed, the last does. */
static bool bounds_text(const sp_encoding *encoding, size_t end) {
    return end == encoding->n || encoding->ends[end] > encoding->ends[end - 1];
}

size_t sp_segment_end(const sp_encoding *encoding, const char *text, size_t n_bytes, size_t begin,
                      size_t most_tokens) {
    const size_t left = encoding->n - begin;
    const size_t last = left < most_tokens ? encoding->n : begin + most_tokens;
    for (size_t end = last; end > begin; end--)
        if (bounds_text(encoding, end) && !splits_character(text, n_bytes, encoding->ends[end - 1]))
            return end;
    return last;
}
