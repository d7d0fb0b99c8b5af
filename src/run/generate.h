/* Generation from a document's slots: its reconstruction, or what follows a prompt. */
#pragma once

#include "base/json.h"

typedef struct sp_generate_job {
    const char *checkpoint;         /* run or step folder */
    const char *memory, *document;  /* slot file, and a document's id in it */
    const char *prompt;             /* text, or NULL: reconstruct */
    size_t max_new_tokens;          /* of each answer, or of each segment */
    const char *const *assignments; /* [n_assignments] over the configuration */
    size_t n_assignments;
} sp_generate_job;

/* Makes an object, owned: document, text, ids. Without a prompt every segment is reconstructed by
   itself and they are joined; with one, the slots of all segments stand before it. Greedy. Text that
   is not UTF-8 has its bad bytes replaced in the object; *text, owned, *n_bytes long, has the bytes.
   SP_BAD_DATA: the slots were made by another compressor. */
SP_NODISCARD sp_status sp_generate(json_t **result, char **text, size_t *n_bytes,
                                   const sp_generate_job *job);
