/* The slots of what an evaluation reads, from a slot file in place of the encoder: of a text, by its
   content, one document or several, and of a token file's segments, by their document's id. */
#pragma once

#include "io/tokens_file.h"
#include "run/converted_slots.h"

typedef struct sp_stored_slots {
    sp_converted_slots slots;     /* its file is NULL: no slot file is read */
    const char *path;             /* borrowed */
    struct sp_stored_text *texts; /* [n_texts], owned: documents by the hashes of their texts */
    size_t n_texts;
    size_t tokens_document, document; /* a token file's that was found last, and where */
    bool has_found;
} sp_stored_slots; /* all zero: none */

/* Opens the slot file `path` (borrowed) of the compressor `trained`, which stays open longer and needs
   no encoder. SP_BAD_DATA: another compressor made it, or at another ratio than the one in use; else
   as sp_slots_open(). *stored is empty then. */
SP_NODISCARD sp_status sp_stored_slots_open(sp_stored_slots *stored, const char *path,
                                            const sp_trained *trained);
void sp_stored_slots_close(sp_stored_slots *stored); /* an empty one is fine */

/* Finds the document that is the text [n_bytes] from byte *at on, or the longest part of it that ends
   in front of a blank line: segments [*begin, *end) of the file. It has the same bytes but for a
   collision of its hash (XXH3-64) and length. *at moves behind it and the blank line, so that a text
   of several documents is found by calls until it is n_bytes. SP_BAD_DATA: there is none. */
SP_NODISCARD sp_status sp_stored_slots_next_text(const sp_stored_slots *stored, const char *text,
                                                 size_t n_bytes, size_t *at, size_t *begin,
                                                 size_t *end);

/* Finds which segment of the file a token file's segment is: the one at its place in the document of
   its document's id. SP_BAD_DATA: no such document, or another text; or one that another tokenizer, or
   at another length, cut into other segments than those of the stream. */
SP_NODISCARD sp_status sp_stored_slots_find_segment(sp_stored_slots *stored,
                                                    const sp_tokens *tokens, size_t stream,
                                                    size_t segment, size_t *found);
