/* The tokens that are single characters: what BPE over characters starts from. */
#pragma once

#include "base/status.h"
#include "text/vocabulary.h"

#include <stdint.h>

enum { SP_CHARACTER_PAGE = 256, SP_CHARACTER_PAGES = 0x110000 / SP_CHARACTER_PAGE };

typedef struct sp_character_ids {
    int32_t *pages[SP_CHARACTER_PAGES]; /* [SP_CHARACTER_PAGE] ids or -1 each, owned; NULL: none */
} sp_character_ids;                     /* all zero: no character has a token */

/* Collects them from a vocabulary of characters. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_character_ids_fill(sp_character_ids *ids,
                                             const sp_vocabulary *vocabulary);

void sp_character_ids_free(sp_character_ids *ids);

/* The token of a character, or -1. */
static inline int32_t sp_character_id(const sp_character_ids *ids, uint32_t character) {
    const int32_t *page = ids->pages[character / SP_CHARACTER_PAGE];
    return page != NULL ? page[character % SP_CHARACTER_PAGE] : -1;
}
