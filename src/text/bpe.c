#include "text/bpe.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A token of a long word, linked to its neighbours; n_bytes is 0 once it was merged into its left
   one. */
typedef struct sp_symbol {
    int32_t id;
    uint32_t n_bytes;
    uint32_t previous, next; /* indices, or NONE */
} sp_symbol;

/* A merge that may be done, unless its symbols changed meanwhile. */
typedef struct sp_candidate {
    uint64_t order; /* rank, then position of the left symbol: the least goes first */
    int32_t id;     /* of the merged token */
} sp_candidate;

/* Words up to this length look for the best pair by scanning all of them, which was measured faster
   than the heap up to some 100 bytes. */
enum { SHORT_WORD = 64 };

static const uint32_t NONE = UINT32_MAX;

static sp_merge *find_merge(const sp_bpe *bpe, int32_t left, int32_t right) {
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const uint64_t hash = pair * 0x9E3779B97F4A7C15u;
    size_t slot = (hash >> 32 ^ hash >> 13) & bpe->slot_mask;
    while (bpe->slots[slot].rank != SP_BPE_NO_RANK &&
           (bpe->slots[slot].left != (uint32_t)left || bpe->slots[slot].right != (uint32_t)right))
        slot = (slot + 1) & bpe->slot_mask;
    return &bpe->slots[slot];
}

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

static sp_status add_merge(sp_bpe *bpe, const sp_vocabulary *vocabulary, const json_t *entry,
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
    *find_merge(bpe, left, right) = (sp_merge){(uint32_t)left, (uint32_t)right, rank, id};
    return SP_OK;
}

static sp_status read_merges(sp_bpe *bpe, const json_t *merges, const sp_vocabulary *vocabulary,
                             const char *name) {
    if (!json_is_array(merges))
        return sp_fail(SP_BAD_DATA, "'%s': model has no array 'merges'", name);
    const size_t n = json_array_size(merges);
    size_t n_slots = 16;
    while (n_slots - n_slots / 4 < n) n_slots *= 2;
    SP_TRY(sp_alloc_array((void **)&bpe->slots, n_slots, sizeof *bpe->slots, "a table of merges"));
    bpe->slot_mask = n_slots - 1;
    for (size_t slot = 0; slot < n_slots; slot++) bpe->slots[slot].rank = SP_BPE_NO_RANK;

    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(merges, i);
        const char *line = json_string_value(entry);
        if (line != NULL && strncmp(line, "#version", 8) == 0) continue; /* of a merges.txt */
        SP_TRY(add_merge(bpe, vocabulary, entry, rank++, name));
    }
    return SP_OK;
}

/* The options would change the merging, and are off in every byte-level model. */
sp_status sp_bpe_check_options(const json_t *model, const char *name) {
    const char *type = "BPE", *prefix = "", *suffix = "";
    bool byte_fallback = false;
    double dropout = 0;
    SP_TRY(sp_json_get_string(&type, model, "type", name));
    SP_TRY(sp_json_get_string(&prefix, model, "continuing_subword_prefix", name));
    SP_TRY(sp_json_get_string(&suffix, model, "end_of_word_suffix", name));
    SP_TRY(sp_json_get_bool(&byte_fallback, model, "byte_fallback", name));
    SP_TRY(sp_json_get_double(&dropout, model, "dropout", name));
    if (strcmp(type, "BPE") != 0)
        return sp_fail(SP_BAD_DATA, "'%s': model '%s' is not supported: BPE is", name, type);
    const char *unsupported = prefix[0] != '\0'   ? "continuing_subword_prefix"
                              : suffix[0] != '\0' ? "end_of_word_suffix"
                              : byte_fallback     ? "byte_fallback"
                              : dropout != 0      ? "dropout"
                                                  : NULL;
    if (unsupported != NULL)
        return sp_fail(SP_BAD_DATA, "'%s': model option '%s' is not supported", name, unsupported);
    return SP_OK;
}

static sp_status read_unknown(sp_bpe *bpe, const json_t *model, const sp_vocabulary *vocabulary,
                              const char *name) {
    const char *unknown = NULL;
    SP_TRY(sp_json_get_string(&unknown, model, "unk_token", name));
    SP_TRY(sp_json_get_bool(&bpe->fuse_unknown, model, "fuse_unk", name));
    bpe->unknown_id =
        unknown != NULL ? sp_vocabulary_find(vocabulary, unknown, strlen(unknown)) : -1;
    if (unknown != NULL && bpe->unknown_id < 0)
        return sp_fail(SP_BAD_DATA, "'%s': unk_token '%s' is not in the vocabulary", name, unknown);
    return SP_OK;
}

sp_status sp_bpe_read(sp_bpe *bpe, const json_t *model, const sp_vocabulary *vocabulary,
                      const char *name) {
    sp_bpe result = {0};
    SP_TRY(read_unknown(&result, model, vocabulary, name));
    SP_TRY(sp_json_get_bool(&result.ignore_merges, model, "ignore_merges", name));
    for (int byte = 0; byte < 256; byte++)
        result.byte_ids[byte] = sp_vocabulary_find_bytes(vocabulary, &(char){(char)byte}, 1);
    const sp_status status =
        read_merges(&result, json_object_get(model, "merges"), vocabulary, name);
    if (status == SP_OK)
        *bpe = result;
    else
        sp_bpe_free(&result);
    return status;
}

void sp_bpe_free(sp_bpe *bpe) {
    free(bpe->slots);
    *bpe = (sp_bpe){0};
}

static sp_status reserve(sp_bpe_word *word, size_t n_bytes) {
    if (n_bytes <= word->capacity) return SP_OK;
    const size_t capacity = n_bytes < 256 ? 256 : n_bytes + n_bytes / 2;
    sp_bpe_word_free(word);
    SP_TRY(sp_alloc_array((void **)&word->ids, capacity, sizeof *word->ids, "a word's tokens"));
    SP_TRY(sp_alloc_array((void **)&word->lens, capacity, sizeof *word->lens, "a word's tokens"));
    word->capacity = capacity;
    return SP_OK;
}

/* Symbols and heap are for long words; a merge takes one candidate away and adds two at most, so
   that twice the length is room enough. */
static sp_status reserve_heap(sp_bpe_word *word, size_t n) {
    if (n <= word->heap_capacity) return SP_OK;
    free(word->symbols);
    free(word->heap);
    word->symbols = NULL;
    word->heap = NULL;
    word->heap_capacity = 0;
    SP_TRY(sp_alloc_array((void **)&word->symbols, n, sizeof *word->symbols, "a long word"));
    SP_TRY(sp_alloc_array((void **)&word->heap, 2 * n, sizeof *word->heap, "a long word"));
    word->heap_capacity = n;
    return SP_OK;
}

void sp_bpe_word_free(sp_bpe_word *word) {
    free(word->heap);
    free(word->symbols);
    free(word->lens);
    free(word->ids);
    *word = (sp_bpe_word){0};
}

/* The tokens of the word's single bytes. A byte that is dropped lengthens the next token, or the
   last one. */
static void begin_word(sp_bpe_word *word, const sp_bpe *bpe, const char *bytes, size_t n_bytes) {
    uint32_t dropped = 0;
    bool after_unknown = false;
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        const int32_t known = bpe->byte_ids[(unsigned char)bytes[i]];
        const int32_t id = known >= 0 ? known : bpe->unknown_id;
        if (id < 0) {
            dropped++;
        } else if (known < 0 && after_unknown && bpe->fuse_unknown) {
            word->lens[n - 1]++;
        } else {
            word->ids[n] = id;
            word->lens[n++] = 1 + dropped;
            dropped = 0;
        }
        after_unknown = known < 0;
    }
    if (n > 0) word->lens[n - 1] += dropped;
    word->n = n;
}

static void merge_short(sp_bpe_word *word, const sp_bpe *bpe) {
    int32_t *ids = word->ids;
    uint32_t *lens = word->lens;
    size_t n = word->n;
    const sp_merge *merges[SHORT_WORD]; /* of token i and the next */
    for (size_t i = 0; i + 1 < n; i++) merges[i] = find_merge(bpe, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (merges[i]->rank < merges[best]->rank) best = i;
        if (merges[best]->rank == SP_BPE_NO_RANK) break;

        ids[best] = merges[best]->id;
        lens[best] += lens[best + 1];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            lens[i] = lens[i + 1];
            merges[i - 1] = merges[i];
        }
        if (best + 1 < n) merges[best] = find_merge(bpe, ids[best], ids[best + 1]);
        if (best > 0) merges[best - 1] = find_merge(bpe, ids[best - 1], ids[best]);
    }
    word->n = n;
}

static void sift_down(sp_candidate *heap, size_t n, size_t i) {
    const sp_candidate moved = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1].order < heap[child].order) child++;
        if (moved.order <= heap[child].order) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void sift_up(sp_candidate *heap, size_t i) {
    const sp_candidate moved = heap[i];
    while (i > 0 && moved.order < heap[(i - 1) / 2].order) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = moved;
}

/* Appends the candidate of the symbol at `left` and its next one, if the two merge. */
static size_t append_candidate(sp_bpe_word *word, size_t n_heap, const sp_bpe *bpe, uint32_t left) {
    const sp_symbol *symbols = word->symbols;
    if (left == NONE || symbols[left].next == NONE) return n_heap;
    const sp_merge *merge = find_merge(bpe, symbols[left].id, symbols[symbols[left].next].id);
    if (merge->rank == SP_BPE_NO_RANK) return n_heap;
    word->heap[n_heap] = (sp_candidate){(uint64_t)merge->rank << 32 | left, merge->id};
    return n_heap + 1;
}

static size_t push_candidate(sp_bpe_word *word, size_t n_heap, const sp_bpe *bpe, uint32_t left) {
    const size_t n = append_candidate(word, n_heap, bpe, left);
    if (n > n_heap) sift_up(word->heap, n_heap);
    return n;
}

/* Whether the candidate still stands. Its symbols may have changed, but then they cover other bytes
   and cannot merge into the same token. */
static bool still_stands(const sp_bpe_word *word, const sp_bpe *bpe, sp_candidate candidate) {
    const sp_symbol *left = &word->symbols[(uint32_t)candidate.order];
    if (left->n_bytes == 0 || left->next == NONE) return false;
    const sp_merge *merge = find_merge(bpe, left->id, word->symbols[left->next].id);
    return merge->rank != SP_BPE_NO_RANK && merge->id == candidate.id;
}

static void merge_symbols(sp_symbol *symbols, uint32_t at, int32_t id) {
    sp_symbol *left = &symbols[at], *right = &symbols[left->next];
    left->id = id;
    left->n_bytes += right->n_bytes;
    left->next = right->next;
    right->n_bytes = 0;
    if (left->next != NONE) symbols[left->next].previous = at;
}

static void link_symbols(sp_bpe_word *word) {
    const uint32_t n = (uint32_t)word->n; /* below 2^31 */
    for (uint32_t i = 0; i < n; i++)
        word->symbols[i] = (sp_symbol){.id = word->ids[i],
                                       .n_bytes = word->lens[i],
                                       .previous = i > 0 ? i - 1 : NONE,
                                       .next = i + 1 < n ? i + 1 : NONE};
}

static void collect_symbols(sp_bpe_word *word) {
    size_t n = 0;
    for (uint32_t i = 0; i != NONE; i = word->symbols[i].next) {
        word->ids[n] = word->symbols[i].id;
        word->lens[n++] = word->symbols[i].n_bytes;
    }
    word->n = n;
}

static sp_status merge_long(sp_bpe_word *word, const sp_bpe *bpe) {
    SP_TRY(reserve_heap(word, word->capacity));
    link_symbols(word);
    size_t n_heap = 0;
    for (uint32_t i = 0; i < (uint32_t)word->n; i++)
        n_heap = append_candidate(word, n_heap, bpe, i);
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(word->heap, n_heap, i);

    while (n_heap > 0) {
        const sp_candidate top = word->heap[0];
        word->heap[0] = word->heap[--n_heap];
        if (n_heap > 0) sift_down(word->heap, n_heap, 0);
        if (!still_stands(word, bpe, top)) continue;
        const uint32_t at = (uint32_t)top.order;
        merge_symbols(word->symbols, at, top.id);
        n_heap = push_candidate(word, n_heap, bpe, word->symbols[at].previous);
        n_heap = push_candidate(word, n_heap, bpe, at);
    }
    collect_symbols(word);
    return SP_OK;
}

sp_status sp_bpe_encode(const sp_bpe *bpe, const sp_vocabulary *vocabulary, sp_bpe_word *word,
                        const char *bytes, size_t n_bytes) {
    assert(n_bytes <= INT32_MAX);
    SP_TRY(reserve(word, n_bytes));
    if (bpe->ignore_merges) {
        const int32_t id = sp_vocabulary_find_bytes(vocabulary, bytes, n_bytes);
        if (id >= 0) {
            word->ids[0] = id;
            word->lens[0] = (uint32_t)n_bytes;
            word->n = 1;
            return SP_OK;
        }
    }
    begin_word(word, bpe, bytes, n_bytes);
    if (word->n <= SHORT_WORD)
        merge_short(word, bpe);
    else
        SP_TRY(merge_long(word, bpe));
    return SP_OK;
}
