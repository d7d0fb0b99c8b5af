#include "text/byte_level.h"

#include "text/unicode.h"

/* Latin-1's printable characters, which spell themselves. */
static bool spells_itself(uint32_t character) {
    return (character >= '!' && character <= '~') ||
           (character >= 0xA1 && character <= 0xFF && character != 0xAD); /* the soft hyphen */
}

/* The other bytes in rising order: 0-32, 127-160, 173, spelled by U+0100 onward. */
static bool byte_of(unsigned char *byte, uint32_t character) {
    if (spells_itself(character)) {
        *byte = (unsigned char)character;
        return true;
    }
    const uint32_t i = character - 0x100;
    if (character < 0x100 || i > 67) return false;
    *byte = (unsigned char)(i <= 32 ? i : i <= 66 ? i - 33 + 127 : 173);
    return true;
}

bool sp_byte_level_decode(char *bytes, size_t *n_bytes, const char *spelling, size_t n_spelling) {
    size_t n = 0;
    for (size_t i = 0; i < n_spelling; n++) {
        uint32_t character;
        const size_t len = sp_utf8_decode(&character, spelling + i, n_spelling - i);
        unsigned char byte;
        if (len == 0 || !byte_of(&byte, character)) return false;
        bytes[n] = (char)byte;
        i += len;
    }
    *n_bytes = n;
    return true;
}
