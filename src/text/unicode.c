#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

static bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

size_t sp_utf8_decode(uint32_t *character, const char *text, size_t n_bytes) {
    const unsigned char *bytes = (const unsigned char *)text;
    if (n_bytes == 0) return 0;
    const unsigned char lead = bytes[0];
    if (lead < 0x80) {
        *character = lead;
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) return 0;
    if (n_bytes < 2 || !is_continuation(bytes[1])) return 0;
    if (lead < 0xE0) {
        *character = (lead & 0x1Fu) << 6 | (bytes[1] & 0x3Fu);
        return 2;
    }
    if (n_bytes < 3 || !is_continuation(bytes[2])) return 0;
    if (lead < 0xF0) {
        const uint32_t value = (lead & 0x0Fu) << 12 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
        if (value < 0x800 || (value >= 0xD800 && value < 0xE000)) return 0;
        *character = value;
        return 3;
    }
    if (n_bytes < 4 || !is_continuation(bytes[3])) return 0;
    const uint32_t value = (lead & 0x07u) << 18 | (bytes[1] & 0x3Fu) << 12 |
                           (bytes[2] & 0x3Fu) << 6 | (bytes[3] & 0x3Fu);
    if (value < 0x10000 || value > 0x10FFFF) return 0;
    *character = value;
    return 4;
}

size_t sp_utf8_encode(char bytes[SP_UTF8_MAX], uint32_t character) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)character, (utf8proc_uint8_t *)bytes);
}

/* Length of the prefix of ASCII, in steps of 8 bytes. */
static size_t ascii_prefix(const char *text, size_t n_bytes) {
    size_t i = 0;
    for (uint64_t block; i + sizeof block <= n_bytes; i += sizeof block) {
        memcpy(&block, text + i, sizeof block);
        if ((block & 0x8080808080808080u) != 0) break;
    }
    return i;
}

size_t sp_utf8_valid_prefix(const char *text, size_t n_bytes) {
    size_t i = 0;
    while (i < n_bytes) {
        i += ascii_prefix(text + i, n_bytes - i);
        uint32_t character;
        /* up to the next ASCII after the first other character, so that dense scripts do not try
           the long step at each character */
        do {
            const size_t len = sp_utf8_decode(&character, text + i, n_bytes - i);
            if (len == 0) return i;
            i += len;
        } while (i < n_bytes && ((unsigned char)text[i] >= 0x80 || n_bytes - i < 8));
    }
    return i;
}

size_t sp_utf8_invalid_prefix(const char *text, size_t n_bytes) {
    size_t i = 0;
    uint32_t character;
    while (i < n_bytes && sp_utf8_decode(&character, text + i, n_bytes - i) == 0) i++;
    return i;
}

size_t sp_utf8_last_character(const char *text, size_t end) {
    size_t i = end - 1;
    while (i > 0 && end - i < SP_UTF8_MAX && is_continuation((unsigned char)text[i])) i--;
    return i;
}

bool sp_unicode_is_space(uint32_t character) {
    switch (character) {
    case ' ':
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000:
        return true;
    default:
        return (character >= '\t' && character <= '\r') ||
               (character >= 0x2000 && character <= 0x200A);
    }
}

bool sp_unicode_is_word(uint32_t character) {
    switch (utf8proc_category((utf8proc_int32_t)character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO: /* letters in circles and squares are Alphabetic */
        return (character >= 0x24B6 && character <= 0x24E9) ||
               (character >= 0x1F130 && character <= 0x1F149) ||
               (character >= 0x1F150 && character <= 0x1F169) ||
               (character >= 0x1F170 && character <= 0x1F189);
    default:
        return character == 0x200C || character == 0x200D;
    }
}

bool sp_unicode_is_alphanumeric(uint32_t character) {
    switch (utf8proc_category((utf8proc_int32_t)character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

uint32_t sp_unicode_lower(uint32_t character) {
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)character);
}

bool sp_unicode_is_cased(uint32_t character) {
    switch (utf8proc_category((utf8proc_int32_t)character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
        return true;
    default: /* ordinal indicators, Roman numerals, letters in circles and squares */
        return character == 0xAA || character == 0xBA ||
               (character >= 0x2160 && character <= 0x217F) ||
               (character >= 0x24B6 && character <= 0x24E9) ||
               (character >= 0x1F130 && character <= 0x1F149) ||
               (character >= 0x1F150 && character <= 0x1F169) ||
               (character >= 0x1F170 && character <= 0x1F189);
    }
}

bool sp_unicode_is_case_ignorable(uint32_t character) {
    switch (utf8proc_category((utf8proc_int32_t)character)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        break;
    }
    /* Word_Break=MidLetter, MidNumLet and Single_Quote */
    static const uint16_t others[] = {'\'',   '.',    ':',    0xB7,   0x387,  0x55F,
                                      0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                      0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (character == others[i]) return true;
    return false;
}
