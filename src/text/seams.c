#include "text/seams.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>

static const uint64_t NO_PAIR = UINT64_MAX;

/* Where the pair stands or would stand. */
static size_t find_slot(const sp_seams *seams, uint64_t pair) {
    const uint64_t hash = pair * 0x9E3779B97F4A7C15u;
    size_t slot = (hash >> 32 ^ hash >> 13) & seams->joined_mask;
    while (seams->joined[slot] != NO_PAIR && seams->joined[slot] != pair)
        slot = (slot + 1) & seams->joined_mask;
    return slot;
}

static bool are_joined(const sp_seams *seams, uint32_t x, uint32_t y) {
    if (x < 128 && y < 128) return (seams->ascii[x][y / 64] >> y % 64 & 1) != 0;
    const uint64_t pair = (uint64_t)x << 32 | y;
    return seams->joined[find_slot(seams, pair)] == pair;
}

static void join(sp_seams *seams, uint32_t x, uint32_t y) {
    if (x < 128 && y < 128) {
        seams->ascii[x][y / 64] |= (uint64_t)1 << y % 64;
        return;
    }
    const uint64_t pair = (uint64_t)x << 32 | y;
    seams->joined[find_slot(seams, pair)] = pair;
}

static void join_across(sp_seams *seams, const sp_token *left, const sp_token *right) {
    uint32_t x, y;
    if (left->n_bytes == 0 || right->n_bytes == 0) return; /* never beside a character's token */
    const size_t last = sp_utf8_last_character(left->bytes, left->n_bytes);
    if (sp_utf8_decode(&x, left->bytes + last, left->n_bytes - last) > 0 &&
        sp_utf8_decode(&y, right->bytes, right->n_bytes) > 0)
        join(seams, x, y);
}

sp_status sp_seams_fill(sp_seams *seams, const sp_merges *merges, const sp_vocabulary *vocabulary) {
    sp_seams filled = {.joined_mask = merges->slot_mask}; /* as much room as the merges have */
    SP_TRY(sp_alloc_array((void **)&filled.joined, filled.joined_mask + 1, sizeof *filled.joined,
                          "pairs of characters"));
    for (size_t slot = 0; slot <= filled.joined_mask; slot++) filled.joined[slot] = NO_PAIR;
    for (size_t slot = 0; slot <= merges->slot_mask; slot++) {
        const sp_merge *merge = &merges->slots[slot];
        if (merge->rank != SP_NO_RANK)
            join_across(&filled, &vocabulary->tokens[merge->left],
                        &vocabulary->tokens[merge->right]);
    }
    *seams = filled;
    return SP_OK;
}

void sp_seams_free(sp_seams *seams) {
    free(seams->joined);
    *seams = (sp_seams){0};
}

size_t sp_seams_first(const sp_seams *seams, const sp_character_ids *ids, const char *text,
                      size_t n_bytes) {
    uint32_t x, y;
    size_t end = sp_utf8_decode(&x, text, n_bytes);
    bool x_is_token = sp_character_id(ids, x) >= 0;
    while (end < n_bytes) {
        const size_t len = sp_utf8_decode(&y, text + end, n_bytes - end);
        const bool y_is_token = sp_character_id(ids, y) >= 0;
        if (x_is_token && y_is_token && !are_joined(seams, x, y)) return end;
        end += len;
        x = y;
        x_is_token = y_is_token;
    }
    return n_bytes;
}
