#include "text/word_walk.h"

#include "text/aligned_text.h"

#include <stdlib.h>
#include <string.h>

/* A part of a piece: what a pattern matched, or what stands between two matches. */
typedef struct part {
    size_t begin, end;
    bool matches;
} part;

/* A piece, and how far its step has cut it. */
typedef struct step_state {
    sp_word piece;
    sp_regex_walk matches;
    size_t cut_to;         /* the parts up to here are given */
    bool is_given;         /* of a step that rewrites: the piece itself */
    bool has_match, holds; /* whether the next two are there */
    part match;            /* found, and due after the text before it */
    part held;             /* the next part may join it */
} step_state;

struct sp_word_walk {
    sp_word text;
    sp_text_place place;
    bool has_text;
    step_state states[SP_PRETOKENIZER_STEPS];
    sp_regex_search *search;
    bool is_rewritten; /* the present words are of the piece below */
    sp_aligned_text rewritten;
    size_t rewritten_from; /* where it lies in the text */
};

sp_status sp_word_walk_create(sp_word_walk **walk) {
    sp_word_walk *result = calloc(1, sizeof *result);
    if (result == NULL) return sp_fail(SP_FAILURE, "no memory to cut text into words");
    const sp_status status = sp_regex_search_create(&result->search);
    if (status == SP_OK)
        *walk = result;
    else
        sp_word_walk_destroy(result);
    return status;
}

void sp_word_walk_destroy(sp_word_walk *walk) {
    if (walk == NULL) return;
    sp_aligned_free(&walk->rewritten);
    sp_regex_search_destroy(walk->search);
    free(walk);
}

void sp_word_walk_begin(sp_word_walk *walk, const char *text, size_t n_bytes, sp_text_place place) {
    walk->text = (sp_word){.bytes = text, .n_bytes = n_bytes};
    walk->place = place;
    walk->has_text = n_bytes > 0;
    walk->is_rewritten = false;
    /* no step has a piece yet: each is at the end of an empty one */
    for (size_t i = 0; i < SP_PRETOKENIZER_STEPS; i++)
        walk->states[i] = (step_state){.matches.search_from = 1, .is_given = true};
}

/* Finds the next match into state->match. */
static sp_status find_match(const sp_pretokenizer_step *step, sp_regex_search *search,
                            step_state *state) {
    part *match = &state->match;
    SP_TRY(sp_regex_walk_next(step->regex, search, &state->matches, state->piece.bytes,
                              state->piece.n_bytes, &state->has_match, &match->begin, &match->end));
    match->matches = true;
    return SP_OK;
}

/* The next part of a piece: matches and what stands between them, in order. */
static sp_status next_part(const sp_pretokenizer_step *step, sp_regex_search *search,
                           step_state *state, part *next, bool *found) {
    if (!state->has_match) SP_TRY(find_match(step, search, state));
    const size_t gap_end = state->has_match ? state->match.begin : state->piece.n_bytes;
    *found = state->has_match || state->cut_to < gap_end;
    if (state->cut_to < gap_end) {
        *next = (part){state->cut_to, gap_end, false};
    } else if (state->has_match) {
        *next = state->match;
        state->has_match = false;
    }
    if (*found) state->cut_to = next->end;
    next->matches ^= step->is_inverted;
    return SP_OK;
}

/* Whether a part joins the one before it. */
static bool joins(sp_split_behavior behavior, bool before_matches, bool matches) {
    switch (behavior) {
    case SP_SPLIT_MERGED_WITH_PREVIOUS:
        return matches && !before_matches;
    case SP_SPLIT_MERGED_WITH_NEXT:
        return before_matches && !matches;
    case SP_SPLIT_CONTIGUOUS:
        return matches == before_matches;
    case SP_SPLIT_ISOLATED:
    case SP_SPLIT_REMOVED:
        break;
    }
    return false;
}

/* The next part after joining. The last part is held back until it is known that the next does not
   join it; a behaviour that never joins needs no such delay. */
static sp_status next_joined(const sp_pretokenizer_step *step, sp_regex_search *search,
                             step_state *state, part *next, bool *found) {
    const bool may_join = step->behavior != SP_SPLIT_ISOLATED && step->behavior != SP_SPLIT_REMOVED;
    for (;;) {
        part present = {0};
        SP_TRY(next_part(step, search, state, &present, found));
        if (!*found) {
            *found = state->holds;
            *next = state->held;
            state->holds = false;
            return SP_OK;
        }
        if (step->behavior == SP_SPLIT_REMOVED && present.matches) continue;
        if (!may_join) {
            *next = present;
            return SP_OK;
        }
        const part held = state->held;
        const bool held_before = state->holds;
        const bool joined = held_before && joins(step->behavior, held.matches, present.matches);
        state->held = present;
        state->holds = true;
        if (joined) {
            state->held.begin = held.begin;
        } else if (held_before) {
            *next = held;
            return SP_OK;
        }
    }
}

/* The next piece that a step cuts off; an empty one is none. */
static sp_status next_piece(const sp_pretokenizer_step *step, sp_regex_search *search,
                            step_state *state, sp_word *next, bool *found) {
    if (step->regex == NULL) {
        *found = !state->is_given;
        state->is_given = true;
        *next = state->piece;
        return SP_OK;
    }
    part cut = {0};
    do {
        SP_TRY(next_joined(step, search, state, &cut, found));
    } while (*found && cut.begin == cut.end);
    if (!*found) return SP_OK;
    *next = (sp_word){.bytes = state->piece.bytes + cut.begin,
                      .n_bytes = cut.end - cut.begin,
                      .offset = state->piece.offset + cut.begin};
    return SP_OK;
}

/* Whether the piece is to have a space in front. */
static bool wants_prefix(const sp_pretokenizer_step *step, const sp_word_walk *walk,
                         const sp_word *piece) {
    const bool is_first = walk->place != SP_PLACE_WITHIN && piece->offset == 0;
    if (is_first) return step->prefix != SP_PREFIX_NEVER && walk->place != SP_PLACE_CONTINUATION;
    return step->prefix == SP_PREFIX_ALWAYS;
}

/* Whether a piece begins with what a space is written as, or with a space, which will be. */
static bool begins_with_space(const sp_word *piece, const char *space) {
    const size_t len = strlen(space);
    return piece->bytes[0] == ' ' ||
           (piece->n_bytes >= len && memcmp(piece->bytes, space, len) == 0);
}

/* Writes a piece's spaces anew, and goes on with the result in its place. */
static sp_status rewrite(const sp_pretokenizer_step *step, sp_word_walk *walk, sp_word *piece) {
    sp_aligned_text *rewritten = &walk->rewritten;
    const char *space = step->space, *bytes = piece->bytes;
    const size_t len = strlen(space), n_bytes = piece->n_bytes;
    sp_aligned_begin(rewritten, bytes, n_bytes);
    if (wants_prefix(step, walk, piece) && !begins_with_space(piece, space))
        SP_TRY(sp_aligned_replace(rewritten, 0, 0, space, len));
    if (strcmp(space, " ") != 0)
        for (const char *at = memchr(bytes, ' ', n_bytes); at != NULL;) {
            const size_t i = (size_t)(at - bytes);
            SP_TRY(sp_aligned_replace(rewritten, i, i + 1, space, len));
            at = memchr(at + 1, ' ', n_bytes - i - 1);
        }
    SP_TRY(sp_aligned_end(rewritten));
    walk->is_rewritten = true;
    walk->rewritten_from = piece->offset;
    *piece = (sp_word){.bytes = rewritten->bytes, .n_bytes = rewritten->n_bytes};
    return SP_OK;
}

static sp_status begin_step(const sp_pretokenizer_step *step, sp_word_walk *walk, step_state *state,
                            sp_word piece) {
    if (step->regex == NULL) SP_TRY(rewrite(step, walk, &piece));
    *state = (step_state){.piece = piece};
    return SP_OK;
}

sp_status sp_word_walk_next(const sp_pretokenizer *pretokenizer, sp_word_walk *walk, sp_word *word,
                            bool *found) {
    const sp_pretokenizer_step *steps = pretokenizer->steps;
    sp_word piece = walk->text;
    size_t n = pretokenizer->n_steps; /* the last of the first n steps is to give a piece */
    for (;;) {
        if (n == 0) {
            *found = walk->has_text;
            walk->has_text = false;
            piece = walk->text;
        } else {
            SP_TRY(next_piece(&steps[n - 1], walk->search, &walk->states[n - 1], &piece, found));
        }
        if (!*found && n > 0) {
            n--; /* its piece is used up: the step before gives another */
        } else if (!*found || n == pretokenizer->n_steps) {
            *word = piece;
            return SP_OK;
        } else {
            SP_TRY(begin_step(&steps[n], walk, &walk->states[n], piece));
            n++;
        }
    }
}

size_t sp_word_walk_text_offset(sp_word_walk *walk, size_t offset) {
    if (!walk->is_rewritten) return offset;
    return walk->rewritten_from + sp_aligned_source_offset(&walk->rewritten, offset);
}
