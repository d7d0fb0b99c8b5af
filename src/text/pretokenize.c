#include "text/pretokenize.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* GPT-2's words, ByteLevel's own pattern. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static sp_status add_step(sp_pretokenizer *pretokenizer, sp_pretokenizer_step step,
                          const char *name) {
    if (pretokenizer->n_steps == SP_PRETOKENIZER_STEPS) {
        sp_regex_destroy(step.regex);
        return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer has more than %d steps", name,
                       SP_PRETOKENIZER_STEPS);
    }
    pretokenizer->steps[pretokenizer->n_steps++] = step;
    return SP_OK;
}

static sp_status add_split(sp_pretokenizer *pretokenizer, const char *pattern, size_t pattern_len,
                           bool is_literal, sp_pretokenizer_step step, const char *name) {
    const sp_status status = sp_regex_create(&step.regex, pattern, pattern_len, is_literal);
    if (status != SP_OK) return sp_fail(status, "'%s': pre_tokenizer: %s", name, sp_message());
    return add_step(pretokenizer, step, name);
}

static sp_status read_behavior(sp_split_behavior *behavior, const json_t *object,
                               const char *name) {
    static const char *const names[] = {
        [SP_SPLIT_ISOLATED] = "Isolated",
        [SP_SPLIT_REMOVED] = "Removed",
        [SP_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [SP_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [SP_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    const char *value = "";
    SP_TRY(sp_json_get_string(&value, object, "behavior", name));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) {
            *behavior = (sp_split_behavior)i;
            return SP_OK;
        }
    return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: Split has no behavior '%s'", name, value);
}

static sp_status read_split(sp_pretokenizer *pretokenizer, const json_t *object, const char *name) {
    sp_pretokenizer_step step = {0};
    SP_TRY(read_behavior(&step.behavior, object, name));
    SP_TRY(sp_json_get_bool(&step.is_inverted, object, "invert", name));
    const json_t *pattern = json_object_get(object, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *value = regex != NULL ? regex : literal;
    if (!json_is_string(value))
        return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: Split's pattern is no Regex or String",
                       name);
    return add_split(pretokenizer, json_string_value(value), json_string_length(value),
                     regex == NULL, step, name);
}

static sp_status read_digits(sp_pretokenizer *pretokenizer, const json_t *object,
                             const char *name) {
    bool individual = false;
    SP_TRY(sp_json_get_bool(&individual, object, "individual_digits", name));
    const sp_pretokenizer_step step = {.behavior =
                                           individual ? SP_SPLIT_ISOLATED : SP_SPLIT_CONTIGUOUS};
    return add_split(pretokenizer, "\\p{N}", 5, false, step, name);
}

static sp_status read_byte_level(sp_pretokenizer *pretokenizer, const json_t *object,
                                 const char *name) {
    bool adds_prefix_space = true, use_regex = true;
    SP_TRY(sp_json_get_bool(&adds_prefix_space, object, "add_prefix_space", name));
    SP_TRY(sp_json_get_bool(&use_regex, object, "use_regex", name));
    if (adds_prefix_space) SP_TRY(add_step(pretokenizer, (sp_pretokenizer_step){0}, name));
    if (!use_regex) return SP_OK;
    return add_split(pretokenizer, gpt2_pattern, sizeof gpt2_pattern - 1, false,
                     (sp_pretokenizer_step){.behavior = SP_SPLIT_ISOLATED}, name);
}

/* Adds the steps of one component that is no Sequence. */
static sp_status read_component(sp_pretokenizer *pretokenizer, const json_t *object, bool is_last,
                                const char *name) {
    const char *type = "null";
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    const bool is_byte_level = strcmp(type, "ByteLevel") == 0;
    if (is_byte_level != is_last)
        return sp_fail(SP_BAD_DATA,
                       "'%s': pre_tokenizer: '%s' %s ByteLevel; only byte-level BPE is supported",
                       name, type, is_last ? "comes last instead of" : "comes after");
    if (is_byte_level) return read_byte_level(pretokenizer, object, name);
    if (strcmp(type, "Split") == 0) return read_split(pretokenizer, object, name);
    if (strcmp(type, "Digits") == 0) return read_digits(pretokenizer, object, name);
    return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer '%s' is not supported", name, type);
}

static sp_status read_components(sp_pretokenizer *pretokenizer, const json_t *object,
                                 const char *name) {
    const char *type = "null";
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    if (strcmp(type, "Sequence") != 0) return read_component(pretokenizer, object, true, name);
    const json_t *list = json_object_get(object, "pretokenizers");
    const size_t n = json_array_size(list);
    if (n == 0) return sp_fail(SP_BAD_DATA, "'%s': pre_tokenizer: an empty Sequence", name);
    for (size_t i = 0; i < n; i++)
        SP_TRY(read_component(pretokenizer, json_array_get(list, i), i + 1 == n, name));
    return SP_OK;
}

sp_status sp_pretokenizer_read(sp_pretokenizer *pretokenizer, const json_t *object,
                               const char *name) {
    sp_pretokenizer result = {0};
    const sp_status status = read_components(&result, object, name);
    if (status == SP_OK)
        *pretokenizer = result;
    else
        sp_pretokenizer_free(&result);
    return status;
}

void sp_pretokenizer_free(sp_pretokenizer *pretokenizer) {
    for (size_t i = 0; i < pretokenizer->n_steps; i++)
        sp_regex_destroy(pretokenizer->steps[i].regex);
    *pretokenizer = (sp_pretokenizer){0};
}

/* A part of a piece: what a pattern matched, or what stands between two matches. */
typedef struct part {
    size_t begin, end;
    bool matches;
} part;

/* A piece, and how far its step has cut it. */
typedef struct step_state {
    sp_piece piece;
    size_t search_from; /* beyond n_bytes: no more matches */
    size_t cut_to;      /* the parts up to here are given */
    size_t last_match_end;
    bool has_last_match;
    bool has_match, holds; /* whether the next two are there */
    part match;            /* found, and due after the text before it */
    part held;             /* the next part may join it */
} step_state;

struct sp_word_walk {
    sp_piece text;
    bool has_text;
    step_state states[SP_PRETOKENIZER_STEPS];
    sp_regex_search *search;
    char *prefixed; /* the piece with a space in front, [prefixed_capacity] */
    size_t prefixed_capacity;
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
    free(walk->prefixed);
    sp_regex_search_destroy(walk->search);
    free(walk);
}

void sp_word_walk_begin(sp_word_walk *walk, const char *text, size_t n_bytes) {
    walk->text = (sp_piece){.bytes = text, .n_bytes = n_bytes};
    walk->has_text = n_bytes > 0;
    memset(walk->states, 0, sizeof walk->states);
    for (size_t i = 0; i < SP_PRETOKENIZER_STEPS; i++) walk->states[i].search_from = 1;
}

/* Finds the next match into state->match. An empty match at the end of the last one is passed over,
   as Rust's iterators over matches do. */
static sp_status find_match(const sp_pretokenizer_step *step, sp_regex_search *search,
                            step_state *state) {
    const sp_piece *piece = &state->piece;
    while (state->search_from <= piece->n_bytes) {
        bool found = false;
        size_t begin = 0, end = 0;
        SP_TRY(sp_regex_find(step->regex, search, piece->bytes, piece->n_bytes, state->search_from,
                             &found, &begin, &end));
        if (!found) break;
        if (begin == end && state->has_last_match && end == state->last_match_end) {
            uint32_t character;
            const size_t len = sp_utf8_decode(&character, piece->bytes + end, piece->n_bytes - end);
            state->search_from = end + (len > 0 ? len : 1);
            continue;
        }
        state->search_from = state->last_match_end = end;
        state->has_last_match = state->has_match = true;
        state->match = (part){begin, end, true};
        return SP_OK;
    }
    state->search_from = piece->n_bytes + 1;
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
                            step_state *state, sp_piece *next, bool *found) {
    if (step->regex == NULL) { /* gives the piece itself */
        *found = state->search_from <= state->piece.n_bytes;
        state->search_from = state->piece.n_bytes + 1;
        *next = state->piece;
        return SP_OK;
    }
    part cut = {0};
    do {
        SP_TRY(next_joined(step, search, state, &cut, found));
    } while (*found && cut.begin == cut.end);
    *next = (sp_piece){.bytes = state->piece.bytes + cut.begin,
                       .n_bytes = cut.end - cut.begin,
                       .offset = state->piece.offset + (ptrdiff_t)cut.begin};
    return SP_OK;
}

static sp_status put_space_in_front(sp_word_walk *walk, sp_piece *piece) {
    if (piece->bytes[0] == ' ') return SP_OK;
    const size_t n_bytes = piece->n_bytes + 1;
    if (n_bytes > walk->prefixed_capacity) {
        free(walk->prefixed);
        walk->prefixed = NULL;
        walk->prefixed_capacity = 0;
        SP_TRY(sp_alloc((void **)&walk->prefixed, 2 * n_bytes, "a piece of text"));
        walk->prefixed_capacity = 2 * n_bytes;
    }
    walk->prefixed[0] = ' ';
    memcpy(walk->prefixed + 1, piece->bytes, piece->n_bytes);
    *piece = (sp_piece){walk->prefixed, n_bytes, piece->offset - 1};
    return SP_OK;
}

static sp_status begin_step(const sp_pretokenizer_step *step, sp_word_walk *walk, step_state *state,
                            sp_piece piece) {
    if (step->regex == NULL) SP_TRY(put_space_in_front(walk, &piece));
    *state = (step_state){.piece = piece};
    return SP_OK;
}

sp_status sp_word_walk_next(const sp_pretokenizer *pretokenizer, sp_word_walk *walk, sp_piece *word,
                            bool *found) {
    const sp_pretokenizer_step *steps = pretokenizer->steps;
    sp_piece piece = walk->text;
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
