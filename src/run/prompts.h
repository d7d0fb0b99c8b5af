/* What the decoder reads for a request, as rows of a batch:

       [BOS] memory <ae>                    to reconstruct a segment
       [BOS] memory prompt                  to go on from the prompt
       [BOS] before memory prompt after     to answer it in a chat (text/chat_template.h)

   where memory is <mem> slots </mem>, once for each segment of each document, in the order in which
   they are named, or the documents' text itself, with blank lines between them and before the prompt;
   and a chat has a BOS if its template has one. Prompts over the same memory share the
   rows up to its end. */
#pragma once

#include "run/context_slots.h"
#include "run/converted_slots.h"
#include "run/requests.h"
#include "text/chat_template.h"

typedef struct sp_prompts {
    const sp_trained *trained;     /* borrowed, as is all up to `context` */
    const sp_tokenizer *tokenizer; /* the decoder's */
    const sp_chat_template *chat;  /* NULL: no chat */
    sp_converted_slots *memory;    /* NULL: no request names a document */
    sp_context_slots *context;     /* NULL: no request has a context, or it is read as text */
    bool reads_text;               /* in place of slots: the slot file has it */
    sp_batch batch;                /* owned, as are the slots: the decoder's rows are the prompts */
    float *slots;                  /* [n_slots, d_dec] */
    size_t n_slots, slots_capacity;
    sp_encoding encoding; /* scratch, owned */
} sp_prompts;             /* all zero but for what is borrowed: empty */

void sp_prompts_clear(sp_prompts *prompts);
void sp_prompts_release(sp_prompts *prompts);

/* Finds the documents of a request. SP_USAGE: one is not there. */
SP_NODISCARD sp_status sp_prompts_check(const sp_prompts *prompts, const sp_request *request);

/* Appends the prompts of requests [n] that share their memory: one sequence, or a prefix and n
   children. A request without a prompt goes on from its memory. SP_BAD_DATA: a token beyond the
   vocabulary; else as sp_chat_turn_encode() and sp_context_slots_read(). */
SP_NODISCARD sp_status sp_prompts_add(sp_prompts *prompts, const sp_request *const *requests,
                                      size_t n);

/* Where the reconstruction of a request's memory is. All zero: at its beginning. */
typedef struct sp_prompts_cursor {
    size_t passage; /* documents, then the context */
    size_t segment; /* of it, from 0 */
} sp_prompts_cursor;

/* Appends sequences that reconstruct segments of one request, at most `most`, from *cursor on, which
   moves on; *is_end: these were the last. Between two calls for one request no other may come. */
SP_NODISCARD sp_status sp_prompts_add_reconstructions(sp_prompts *prompts,
                                                      const sp_request *request, size_t most,
                                                      sp_prompts_cursor *cursor, bool *is_end);
