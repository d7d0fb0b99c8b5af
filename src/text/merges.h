/* Merges of byte-pair encoding: which pairs of neighbouring tokens become one, and which pair goes
   first. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "text/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

/* What a pair of tokens merges into. */
typedef struct sp_merge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* its index in the list of merges; SP_NO_RANK: a free slot */
    int32_t id;           /* the merged token */
} sp_merge;

#define SP_NO_RANK UINT32_MAX

typedef struct sp_merges {
    sp_merge *slots; /* [slot_mask + 1], owned: hash table over (left, right) */
    size_t slot_mask;
} sp_merges; /* all zero: may be freed */

/* Reads a tokenizer.json's member "merges" of "model", over the model's vocabulary. `name` stands
   for the file in messages. SP_BAD_DATA: not such a list, or a merge of or into a token that does
   not exist. */
SP_NODISCARD sp_status sp_merges_read(sp_merges *merges, const json_t *list,
                                      const sp_vocabulary *vocabulary, const char *name);

void sp_merges_free(sp_merges *merges);

/* Where the merge of two tokens stands or would stand; inline, since merging does little else. */
static inline size_t sp_merges_slot(const sp_merges *merges, int32_t left, int32_t right) {
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const uint64_t hash = pair * 0x9E3779B97F4A7C15u;
    size_t slot = (hash >> 32 ^ hash >> 13) & merges->slot_mask;
    for (;; slot = (slot + 1) & merges->slot_mask) {
        const sp_merge *merge = &merges->slots[slot];
        if (merge->rank == SP_NO_RANK ||
            (merge->left == (uint32_t)left && merge->right == (uint32_t)right))
            return slot;
    }
}

/* The merge of two tokens; its rank is SP_NO_RANK where there is none. */
static inline const sp_merge *sp_merges_find(const sp_merges *merges, int32_t left, int32_t right) {
    return &merges->slots[sp_merges_slot(merges, left, right)];
}
