/* Generation from a document's slots: its reconstruction, what follows a prompt, or a chat model's
   answer. The decoder reads

       [BOS] memory <ae>                    to reconstruct a segment
       [BOS] memory prompt                  to go on from the prompt
       [BOS] before memory prompt after     to answer it in a chat (text/chat_template.h)

   where memory is <mem> slots </mem>, once for each segment, and a chat has a BOS if its template has
   one. A chat ends at the end of the answer's turn, too. */
#pragma once

#include "base/json.h"
#include "text/chat_template.h"

typedef struct sp_generate_job {
    const char *checkpoint;         /* run or step folder */
    const char *memory, *document;  /* slot file, and a document's id in it */
    const char *prompt;             /* text, or NULL: reconstruct */
    bool is_chat;                   /* the prompt is a user's turn; there must be one */
    const sp_chat_template *chat;   /* of a chat, static; NULL: the one that is recognised */
    size_t max_new_tokens;          /* of each answer, or of each segment */
    const char *const *assignments; /* [n_assignments] over the configuration */
    size_t n_assignments;
} sp_generate_job;

/* Makes an object, owned: document, text, ids. Without a prompt every segment is reconstructed by
   itself and they are joined; with one, the slots of all segments stand before it. Greedy. Text that
   is not UTF-8 has its bad bytes replaced in the object; *text, owned, *n_bytes long, has the bytes.
   SP_BAD_DATA: the slots were made by another compressor, or the decoder's tokenizer does not have
   the chat's tokens. SP_USAGE: a chat whose template is not recognised. */
SP_NODISCARD sp_status sp_generate(json_t **result, char **text, size_t *n_bytes,
                                   const sp_generate_job *job);
