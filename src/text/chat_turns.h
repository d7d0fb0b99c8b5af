/* Conversations: several turns as a chat model reads them, with a context's memory in the first
   user's turn, in front of its text.

       with a template   [BOS] before | memory, then the first user's text | after  answer  end_of_turn
                         user's header  user's text  after ...      and then the answer to be learnt
       without           [BOS] | memory, then "SPEAKER: TEXT\n" of each message, "SPEAKER:" of the last
                         one, and " TEXT" as the answer, which the model's EOS ends

   With a template (text/chat_template.h) a system message's text stands before the first user's, a
   blank line between; names of speakers are not part of it. Without one a speaker is the name, or else
   the role. Special tokens count in the template's own text only. */
#pragma once

#include "text/chat_template.h"

typedef struct sp_chat_message {
    const char *speaker; /* for plain transcripts */
    const char *content;
} sp_chat_message;

typedef struct sp_chat_ids {
    int32_t *ids; /* [n], owned */
    size_t n, capacity;
} sp_chat_ids;

/* All zero: empty. Reused from one conversation to the next. */
typedef struct sp_chat_turns {
    sp_chat_ids before, prompt, answer; /* prompt: between memory and answer */
    int32_t end;                        /* the token that ends the answer; only with a template */
    sp_encoding encoding;               /* private */
} sp_chat_turns;

/* Encodes messages [n], n even, of user and assistant in turn, behind `system` (NULL: none), of which the
   last is the answer. `chat` NULL: as a plain transcript, in which the system's speaker and text come
   first. SP_BAD_DATA: the tokenizer lacks a token of the template, or cannot encode a text;
   SP_FAILURE: no memory; what is in *turns is then unspecified. */
SP_NODISCARD sp_status sp_chat_turns_encode(sp_chat_turns *turns, const sp_chat_template *chat,
                                            const sp_tokenizer *tokenizer,
                                            const sp_chat_message *system,
                                            const sp_chat_message *messages, size_t n);
void sp_chat_turns_free(sp_chat_turns *turns);
