#include "text/merges.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* One entry of the list of merges, "left right" or ["left", "right"], as two borrowed spans. */
typedef struct spelled_pair {
    const char *left, *right;
    size_t left_len, right_len;
} spelled_pair;

static bool split_pair(spelled_pair *pair, const json_t *entry) {
    if (json_is_array(entry)) {
        const json_t *left = json_array_get(entry, 0), *right = json_array_get(entry, 1);
        if (json_array_size(entry) != 2 || !json_is_string(left) || !json_is_string(right))
            return false;
        *pair = (spelled_pair){json_string_value(left), json_string_value(right),
                               json_string_length(left), json_string_length(right)};
        return true;
    }
    const char *line = json_string_value(entry);
    const char *space = line != NULL ? strchr(line, ' ') : NULL;
    if (space == NULL || strchr(space + 1, ' ') != NULL) return false;
    *pair = (spelled_pair){line, space + 1, (size_t)(space - line), strlen(space + 1)};
    return true;
}

/* The token that left and right become. Only those of bytes can: others never occur in a word. */
static int32_t merged_id(const sp_vocabulary *vocabulary, int32_t left, int32_t right) {
    const sp_token *a = &vocabulary->tokens[left], *b = &vocabulary->tokens[right];
    char bytes[2 * SP_SPELLING_MAX];
    memcpy(bytes, a->bytes, a->n_bytes);
    memcpy(bytes + a->n_bytes, b->bytes, b->n_bytes);
    return sp_vocabulary_find_bytes(vocabulary, bytes, (size_t)a->n_bytes + b->n_bytes);
}

static sp_status add_merge(sp_merges *merges, const sp_vocabulary *vocabulary, const json_t *entry,
                           uint32_t rank, const char *name) {
    spelled_pair pair;
    if (!split_pair(&pair, entry))
        return sp_fail(SP_BAD_DATA, "'%s': merges[%u] is neither \"LEFT RIGHT\" nor a pair", name,
                       rank);
    const int32_t left = sp_vocabulary_find(vocabulary, pair.left, pair.left_len);
    const int32_t right = sp_vocabulary_find(vocabulary, pair.right, pair.right_len);
    if (left < 0 || right < 0)
        return sp_fail(SP_BAD_DATA, "'%s': merges[%u]: '%.*s' is not in the vocabulary", name, rank,
                       (int)(left < 0 ? pair.left_len : pair.right_len),
                       left < 0 ? pair.left : pair.right);
    if (vocabulary->tokens[left].kind != SP_TOKEN_BYTES ||
        vocabulary->tokens[right].kind != SP_TOKEN_BYTES)
        return SP_OK;
    const int32_t id = merged_id(vocabulary, left, right);
    if (id < 0)
        return sp_fail(SP_BAD_DATA, "'%s': merges[%u]: '%.*s%.*s' is not in the vocabulary", name,
                       rank, (int)pair.left_len, pair.left, (int)pair.right_len, pair.right);
    /* of two entries for one pair the later one counts */
    merges->slots[sp_merges_slot(merges, left, right)] =
        (sp_merge){(uint32_t)left, (uint32_t)right, rank, id};
    return SP_OK;
}

static sp_status read_list(sp_merges *merges, const json_t *list, const sp_vocabulary *vocabulary,
                           const char *name) {
    if (!json_is_array(list))
        return sp_fail(SP_BAD_DATA, "'%s': model has no array 'merges'", name);
    const size_t n = json_array_size(list);
    size_t n_slots = 16;
    while (n_slots - n_slots / 4 < n) n_slots *= 2;
    SP_TRY(sp_alloc_array((void **)&merges->slots, n_slots, sizeof *merges->slots,
                          "a table of merges"));
    merges->slot_mask = n_slots - 1;
    for (size_t slot = 0; slot < n_slots; slot++) merges->slots[slot].rank = SP_NO_RANK;

    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *line = json_string_value(entry);
        if (line != NULL && strncmp(line, "#version", 8) == 0) continue; /* of a merges.txt */
        SP_TRY(add_merge(merges, vocabulary, entry, rank++, name));
    }
    return SP_OK;
}

sp_status sp_merges_read(sp_merges *merges, const json_t *list, const sp_vocabulary *vocabulary,
                         const char *name) {
    sp_merges read = {0};
    const sp_status status = read_list(&read, list, vocabulary, name);
    if (status == SP_OK)
        *merges = read;
    else
        sp_merges_free(&read);
    return status;
}

void sp_merges_free(sp_merges *merges) {
    free(merges->slots);
    *merges = (sp_merges){0};
}
