/* Walk over the words that a pre-tokenizer cuts from a text, and then from the next one. Belongs to
   one thread; words are made as they are asked for, in the text's order. */
#pragma once

#include "text/pretokenizer.h"

typedef struct sp_word_walk sp_word_walk;

/* Where the walked-over text stands in the whole one: decides whether a piece that begins it may
   get a space in front. */
typedef enum sp_text_place {
    SP_PLACE_START,        /* at the whole text's start */
    SP_PLACE_CONTINUATION, /* there too, but the whole text goes on from another: no space */
    SP_PLACE_WITHIN,       /* not at its start */
} sp_text_place;

/* Some bytes of the text, or of a piece of it that was rewritten. */
typedef struct sp_word {
    const char *bytes;
    size_t n_bytes;
    size_t offset; /* of bytes[0]: sp_word_walk_text_offset() says where in the text */
} sp_word;

SP_NODISCARD sp_status sp_word_walk_create(sp_word_walk **walk);
void sp_word_walk_destroy(sp_word_walk *walk);

/* Begins with n_bytes of valid UTF-8, borrowed until the walk's end. */
void sp_word_walk_begin(sp_word_walk *walk, const char *text, size_t n_bytes, sp_text_place place);

/* The next word, or *found false at the end. *word is borrowed until the next call. SP_BAD_DATA: a
   pattern takes too many steps. */
SP_NODISCARD sp_status sp_word_walk_next(const sp_pretokenizer *pretokenizer, sp_word_walk *walk,
                                         sp_word *word, bool *found);

/* Where in the text an offset lies that was counted from the present word's. */
size_t sp_word_walk_text_offset(sp_word_walk *walk, size_t offset);
