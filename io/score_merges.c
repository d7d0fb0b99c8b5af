#include "io/score_merges.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* SentencePiece's own limit is 16 characters; bounds the work on a file that has none. */
enum { MOST_BYTES = 256 };

/* A way to make a piece of two. */
typedef struct cut {
    double score; /* of the piece */
    size_t id;    /* of the piece */
    uint16_t n_left_characters, n_right_characters;
    uint16_t n_left_bytes;
} cut;

typedef struct cut_list {
    cut *cuts; /* [n], owned */
    size_t n, capacity;
} cut_list;

static sp_status add_cut(cut_list *list, cut one) {
    if (list->n == list->capacity) {
        const size_t capacity = 2 * list->n + 1024;
        cut *grown = realloc(list->cuts, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu merges", capacity);
        list->cuts = grown;
        list->capacity = capacity;
    }
    list->cuts[list->n++] = one;
    return SP_OK;
}

static bool begins_character(char byte) { return ((unsigned char)byte & 0xC0) != 0x80; }

static bool is_piece(const json_t *vocabulary, const char *bytes, size_t n_bytes) {
    char spelling[MOST_BYTES + 1];
    memcpy(spelling, bytes, n_bytes);
    spelling[n_bytes] = '\0';
    return json_object_get(vocabulary, spelling) != NULL;
}

static sp_status cut_piece(cut_list *list, const char *piece, size_t n_bytes, size_t id,
                           double score, const json_t *vocabulary) {
    size_t n_characters = 0, n_left = 1;
    for (size_t i = 0; i < n_bytes; i++) n_characters += begins_character(piece[i]);
    for (size_t i = 1; i < n_bytes; i++) {
        if (!begins_character(piece[i])) continue;
        if (is_piece(vocabulary, piece, i) && is_piece(vocabulary, piece + i, n_bytes - i))
            SP_TRY(add_cut(list, (cut){.score = score,
                                       .id = id,
                                       .n_left_characters = (uint16_t)n_left,
                                       .n_right_characters = (uint16_t)(n_characters - n_left),
                                       .n_left_bytes = (uint16_t)i}));
        n_left++;
    }
    return SP_OK;
}

static int by_rank(const void *a, const void *b) {
    const cut *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->n_left_characters != y->n_left_characters)
        return x->n_left_characters > y->n_left_characters ? -1 : 1;
    if (x->n_right_characters != y->n_right_characters)
        return x->n_right_characters > y->n_right_characters ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static sp_status cut_pieces(cut_list *list, const json_t *tokens, const json_t *vocabulary,
                            const json_t *scores, const char *path) {
    size_t id;
    const json_t *token;
    if (json_array_size(scores) != json_array_size(tokens))
        return sp_fail(SP_BAD_DATA, "'%s': %zu token scores for %zu tokens", path,
                       json_array_size(scores), json_array_size(tokens));
    json_array_foreach(tokens, id, token) {
        const json_t *score = json_array_get(scores, id);
        if (!json_is_number(score))
            return sp_fail(SP_BAD_DATA, "'%s': the score of token %zu is no number", path, id);
        const size_t n_bytes = json_string_length(token);
        if (n_bytes <= MOST_BYTES)
            SP_TRY(cut_piece(list, json_string_value(token), n_bytes, id, json_number_value(score),
                             vocabulary));
    }
    return SP_OK;
}

static sp_status spell_pairs(json_t **merges, const cut_list *list, const json_t *tokens) {
    json_t *made = json_array();
    for (size_t i = 0; i < list->n; i++) {
        const cut *one = &list->cuts[i];
        const json_t *token = json_array_get(tokens, one->id);
        const char *piece = json_string_value(token);
        json_t *pair =
            json_pack("[s%, s%]", piece, (size_t)one->n_left_bytes, piece + one->n_left_bytes,
                      json_string_length(token) - one->n_left_bytes);
        if (json_array_append_new(made, pair) != 0) {
            json_decref(made);
            return sp_fail(SP_FAILURE, "no memory for %zu merges", list->n);
        }
    }
    *merges = made;
    return SP_OK;
}

sp_status sp_make_score_merges(json_t **merges, const json_t *tokens, const json_t *vocabulary,
                               const json_t *scores, const char *path) {
    cut_list list = {0};
    sp_status status = cut_pieces(&list, tokens, vocabulary, scores, path);
    if (status == SP_OK) {
        if (list.n > 0) qsort(list.cuts, list.n, sizeof *list.cuts, by_rank);
        status = spell_pairs(merges, &list, tokens);
    }
    free(list.cuts);
    return status;
}
