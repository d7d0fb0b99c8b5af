#include "text/character_ids.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>

static sp_status set_id(sp_character_ids *ids, uint32_t character, int32_t id) {
    int32_t **page = &ids->pages[character / SP_CHARACTER_PAGE];
    if (*page == NULL) {
        void *made = NULL;
        SP_TRY(sp_alloc_array(&made, SP_CHARACTER_PAGE, sizeof **page, "characters' tokens"));
        *page = made;
        for (size_t i = 0; i < SP_CHARACTER_PAGE; i++) (*page)[i] = -1;
    }
    (*page)[character % SP_CHARACTER_PAGE] = id;
    return SP_OK;
}

sp_status sp_character_ids_fill(sp_character_ids *ids, const sp_vocabulary *vocabulary) {
    sp_character_ids filled = {0};
    sp_status status = SP_OK;
    for (size_t id = 0; status == SP_OK && id < vocabulary->n; id++) {
        const sp_token *token = &vocabulary->tokens[id];
        uint32_t character;
        if (token->kind == SP_TOKEN_ABSENT || token->n_bytes == 0 ||
            sp_utf8_decode(&character, token->bytes, token->n_bytes) != token->n_bytes)
            continue;
        status = set_id(&filled, character, (int32_t)id);
    }
    if (status == SP_OK)
        *ids = filled;
    else
        sp_character_ids_free(&filled);
    return status;
}

void sp_character_ids_free(sp_character_ids *ids) {
    for (size_t i = 0; i < SP_CHARACTER_PAGES; i++) {
        free(ids->pages[i]);
        ids->pages[i] = NULL;
    }
}
