/* What `generate` is asked, a JSON object a line:

       {"id": "q1", "document": "emma/31", "prompt": "Question: ...\n\nAnswer: "}
       {"id": 2, "documents": ["emma/31", "emma/32"], "prompt": "..."}
       {"id": "x", "context": "text that is in no slot file", "prompt": "..."}

   `document`, `documents` or `context` must be there (documents may be empty; a context comes behind
   the documents), `prompt` and `id` need not. An id is a string or an integer; without it, it is the
   line's number. Other members are passed by, and so are empty lines. */
#pragma once

#include "base/json.h"

typedef struct sp_request {
    json_t *line;           /* owned; the rest is borrowed from it, but for the array */
    const json_t *id;       /* NULL: none */
    const char **documents; /* [n_documents], owned */
    size_t n_documents;
    const char *context, *prompt; /* NULL: none */
    size_t line_number;           /* from 1; 0: of no file */
} sp_request;                     /* all zero: empty */

void sp_request_free(sp_request *request);

typedef struct sp_requests sp_requests; /* opaque: an open file */

/* Opens the file `path`. SP_IO: it cannot be opened. */
SP_NODISCARD sp_status sp_requests_open(sp_requests **requests, const char *path);
void sp_requests_close(sp_requests *requests); /* NULL is fine */
const char *sp_requests_path(const sp_requests *requests);

/* Reads the next one into *request, owned; *is_end: there is none. SP_BAD_DATA: a line is not of the
   form above, with file and line. */
SP_NODISCARD sp_status sp_requests_next(sp_requests *requests, sp_request *request, bool *is_end);

/* Goes back to the first one. SP_IO: the file is a pipe. */
SP_NODISCARD sp_status sp_requests_rewind(sp_requests *requests);

/* Whether both ask about the same memory. */
bool sp_requests_share_memory(const sp_request *a, const sp_request *b);
