/* Decoder: from the tokens' spellings to the text, by the steps of tokenizer.json's "decoder", each
   over the list of pieces that the one before made.

       Replace       in each piece, a string in the place of all that matches a pattern
       ByteFallback  pieces spelled <0x00> to <0xFF> become bytes, a run of them one piece
       Fuse          all pieces become one
       Strip         takes a character off each piece's ends, so many times at most
       Metaspace     in each piece, a character becomes a space; in the first one it goes
       ByteLevel     tokens of a byte-level vocabulary are bytes already: as Fuse

   Where the reference writes U+FFFD for bytes that are no UTF-8, the bytes stay. */
#pragma once

#include "base/json.h"
#include "text/replacement.h"
#include "text/unicode.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum sp_decoder_kind {
    SP_DECODER_REPLACE,
    SP_DECODER_BYTE_FALLBACK,
    SP_DECODER_FUSE,
    SP_DECODER_STRIP,
    SP_DECODER_METASPACE,
} sp_decoder_kind;

typedef struct sp_decoder_step {
    sp_decoder_kind kind;
    sp_replacement replacement;      /* of a Replace */
    char character[SP_UTF8_MAX + 1]; /* of a Strip or Metaspace */
    size_t start, stop;              /* of a Strip: how often at most */
    bool drops_first;                /* of a Metaspace: those of the first piece go */
} sp_decoder_step;

enum { SP_DECODER_STEPS = 8 };

typedef struct sp_decoder {
    sp_decoder_step steps[SP_DECODER_STEPS];
    size_t n_steps;
} sp_decoder; /* all zero: pieces are joined as they are */

/* Reads a tokenizer.json's "decoder": null, one of the above or a Sequence of them. `name` stands
   for the file in messages. SP_BAD_DATA: an unknown type, which is named, one that does not go with
   the vocabulary, or a member missing. */
SP_NODISCARD sp_status sp_decoder_read(sp_decoder *decoder, const json_t *object,
                                       bool is_byte_level, const char *name);

void sp_decoder_free(sp_decoder *decoder);

/* A list of strings of bytes, one after the other; grows as needed. All zero: empty. */
typedef struct sp_pieces {
    char *bytes;  /* [n_bytes], owned */
    size_t *ends; /* [n], owned: where in `bytes` each ends */
    size_t n_bytes, n, bytes_capacity, ends_capacity;
} sp_pieces;

SP_NODISCARD sp_status sp_pieces_add(sp_pieces *pieces, const char *bytes, size_t n_bytes);
void sp_pieces_free(sp_pieces *pieces);

/* Turns the pieces into what they stand for; joined they are the text. With is_continuation the
   text goes on from another one, so that it lost no space at its start: none is taken off there. */
SP_NODISCARD sp_status sp_decoder_run(const sp_decoder *decoder, sp_pieces *pieces,
                                      bool is_continuation);
