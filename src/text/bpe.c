#include "text/bpe.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <assert.h>
#include <stdio.h>
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

/* The options would change the merging, and are off in every model of the kind. */
sp_status sp_bpe_check_options(const json_t *model, bool is_byte_level, const char *name) {
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
    const char *unsupported = prefix[0] != '\0'                ? "continuing_subword_prefix"
                              : suffix[0] != '\0'              ? "end_of_word_suffix"
                              : dropout != 0                   ? "dropout"
                              : byte_fallback && is_byte_level ? "byte_fallback with ByteLevel"
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

/* Of words of bytes, the tokens that they start from; else those that they may fall back to. */
static void find_byte_ids(sp_bpe *bpe, const sp_vocabulary *vocabulary) {
    for (int byte = 0; byte < 256; byte++) {
        char spelling[8] = {(char)byte};
        size_t len = 1;
        if (!bpe->is_byte_level)
            len = (size_t)snprintf(spelling, sizeof spelling, "<0x%02X>", (unsigned)byte);
        bpe->byte_ids[byte] = bpe->is_byte_level || bpe->byte_fallback
                                  ? sp_vocabulary_find_bytes(vocabulary, spelling, len)
                                  : -1;
    }
}

static sp_status read_members(sp_bpe *bpe, const json_t *model, const sp_vocabulary *vocabulary,
                              const char *name) {
    bpe->is_byte_level = vocabulary->is_byte_level;
    SP_TRY(read_unknown(bpe, model, vocabulary, name));
    SP_TRY(sp_json_get_bool(&bpe->ignore_merges, model, "ignore_merges", name));
    SP_TRY(sp_json_get_bool(&bpe->byte_fallback, model, "byte_fallback", name));
    find_byte_ids(bpe, vocabulary);
    SP_TRY(sp_merges_read(&bpe->merges, json_object_get(model, "merges"), vocabulary, name));
    if (bpe->is_byte_level) return SP_OK;
    SP_TRY(sp_character_ids_fill(&bpe->character_ids, vocabulary));
    return sp_seams_fill(&bpe->seams, &bpe->merges, vocabulary);
}

sp_status sp_bpe_read(sp_bpe *bpe, const json_t *model, const sp_vocabulary *vocabulary,
                      const char *name) {
    assert(bpe->merges.slots == NULL);
    const sp_status status = read_members(bpe, model, vocabulary, name);
    if (status != SP_OK) sp_bpe_free(bpe);
    return status;
}

void sp_bpe_free(sp_bpe *bpe) {
    sp_merges_free(&bpe->merges);
    sp_character_ids_free(&bpe->character_ids);
    sp_seams_free(&bpe->seams);
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
static void begin_bytes(sp_bpe_word *word, const sp_bpe *bpe, const char *bytes, size_t n_bytes) {
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

/* The tokens of the word's characters as they come, and what waits for its place among them. */
typedef struct character_tokens {
    sp_bpe_word *word;
    uint32_t unknown; /* bytes of an unknown_id that is not added yet; 0: none */
    uint32_t dropped; /* bytes that lengthen the next token */
} character_tokens;

static void add_token(character_tokens *tokens, int32_t id, uint32_t n_bytes) {
    sp_bpe_word *word = tokens->word;
    word->ids[word->n] = id;
    word->lens[word->n++] = n_bytes + tokens->dropped;
    tokens->dropped = 0;
}

static void add_waiting_unknown(character_tokens *tokens, const sp_bpe *bpe) {
    if (tokens->unknown > 0) add_token(tokens, bpe->unknown_id, tokens->unknown);
    tokens->unknown = 0;
}

/* The bytes of a character that has no token, if each has one. An unknown_id that waits is added
   after them, as the reference does it. */
static bool fall_back_to_bytes(character_tokens *tokens, const sp_bpe *bpe, const char *character,
                               size_t len) {
    for (size_t i = 0; i < len; i++)
        if (bpe->byte_ids[(unsigned char)character[i]] < 0) return false;
    for (size_t i = 0; i < len; i++)
        add_token(tokens, bpe->byte_ids[(unsigned char)character[i]], 1);
    return true;
}

static void begin_characters(sp_bpe_word *word, const sp_bpe *bpe, const char *bytes,
                             size_t n_bytes) {
    character_tokens tokens = {.word = word};
    word->n = 0;
    for (size_t i = 0, len; i < n_bytes; i += len) {
        uint32_t character;
        len = sp_utf8_decode(&character, bytes + i, n_bytes - i);
        const int32_t id = len > 0 ? sp_character_id(&bpe->character_ids, character) : -1;
        if (len == 0) len = 1;
        if (id >= 0) {
            add_waiting_unknown(&tokens, bpe);
            add_token(&tokens, id, (uint32_t)len);
        } else if (fall_back_to_bytes(&tokens, bpe, bytes + i, len)) {
            continue;
        } else if (bpe->unknown_id >= 0) {
            if (!bpe->fuse_unknown) add_waiting_unknown(&tokens, bpe);
            tokens.unknown += (uint32_t)len;
        } else {
            tokens.dropped += (uint32_t)len;
        }
    }
    add_waiting_unknown(&tokens, bpe);
    if (word->n > 0) word->lens[word->n - 1] += tokens.dropped;
}

static void merge_short(sp_bpe_word *word, const sp_bpe *bpe) {
    int32_t *ids = word->ids;
    uint32_t *lens = word->lens;
    size_t n = word->n;
    const sp_merge *merges[SHORT_WORD]; /* of token i and the next */
    for (size_t i = 0; i + 1 < n; i++) merges[i] = sp_merges_find(&bpe->merges, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (merges[i]->rank < merges[best]->rank) best = i;
        if (merges[best]->rank == SP_NO_RANK) break;

        ids[best] = merges[best]->id;
        lens[best] += lens[best + 1];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            lens[i] = lens[i + 1];
            merges[i - 1] = merges[i];
        }
        if (best + 1 < n) merges[best] = sp_merges_find(&bpe->merges, ids[best], ids[best + 1]);
        if (best > 0) merges[best - 1] = sp_merges_find(&bpe->merges, ids[best - 1], ids[best]);
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
    const sp_merge *merge =
        sp_merges_find(&bpe->merges, symbols[left].id, symbols[symbols[left].next].id);
    if (merge->rank == SP_NO_RANK) return n_heap;
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
    const sp_merge *merge = sp_merges_find(&bpe->merges, left->id, word->symbols[left->next].id);
    return merge->rank != SP_NO_RANK && merge->id == candidate.id;
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
    if (bpe->is_byte_level)
        begin_bytes(word, bpe, bytes, n_bytes);
    else
        begin_characters(word, bpe, bytes, n_bytes);
    if (word->n <= SHORT_WORD)
        merge_short(word, bpe);
    else
        SP_TRY(merge_long(word, bpe));
    return SP_OK;
}
