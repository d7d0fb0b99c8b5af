/* Generation from slots (run/prompts.h): the reconstruction of documents, what follows a prompt, or a
   chat model's answer; for one request, or for a file of them, many at once (run/decoding.h). Greedy.
   A chat ends at the end of the answer's turn, too. */
#pragma once

#include "base/json.h"
#include "text/chat_template.h"

typedef enum sp_generate_task {
    SP_TASK_BY_PROMPT,   /* complete where there is a prompt, else reconstruct */
    SP_TASK_RECONSTRUCT, /* every segment by itself, and joined; there must be no prompt */
    SP_TASK_COMPLETE,    /* go on from the prompt, or without one from the memory */
    SP_TASK_ANSWER,      /* answer the prompt, which must be there */
} sp_generate_task;

typedef struct sp_generate_job {
    const char *checkpoint; /* run or step folder */
    const char *memory;     /* slot file; NULL: no document is named */
    size_t
        ratio; /* of contexts compressed on the spot, and the slot file's; 0: the least trained, and
                     any */
    sp_generate_task task;
    bool reads_text; /* of documents and contexts, in place of slots: the slot file must have it */
    bool is_chat;    /* each prompt is a user's turn; the task is to answer it */
    const sp_chat_template *chat; /* of a chat, static; NULL: the one that is recognised */
    size_t max_new_tokens;        /* of each answer, or of each segment */
    size_t most_at_once;          /* sequences in one pass */
    /* One request. */
    const char *const *documents; /* [n_documents] ids */
    size_t n_documents;
    const char *prompt; /* text, or NULL */
    /* Or a file of them: run/requests.h. */
    const char *input;
    const char *output;             /* file; NULL: standard output */
    const char *const *assignments; /* [n_assignments] over the configuration */
    size_t n_assignments;
} sp_generate_job;

/* Makes an object, owned: document (or documents, a list), text, ids. Text that is not UTF-8 has its
   bad bytes replaced in the object; *text, owned, *n_bytes long, has the bytes. SP_BAD_DATA: the slots
   were made by another compressor, or the decoder's tokenizer does not have the chat's tokens.
   SP_BAD_DATA, too: text is to be read that the slot file does not have. SP_USAGE: a chat whose template is not recognised; a document that is not there; a prompt, or none,
   where the task wants it otherwise. */
SP_NODISCARD sp_status sp_generate(json_t **result, char **text, size_t *n_bytes,
                                   const sp_generate_job *job);

typedef struct sp_generate_summary {
    size_t n_answers, n_tokens;
    double seconds; /* without opening the models */
} sp_generate_summary;

/* Answers the requests of a file: for each a line {id, text, tokens} in their order, tokens being the
   number of new ones. The whole file is checked before the models run, and the output is there whole
   or not at all. SP_BAD_DATA, with file and line: a request that cannot be answered. */
SP_NODISCARD sp_status sp_generate_all(sp_generate_summary *summary, const sp_generate_job *job);
