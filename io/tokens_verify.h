/* Is a token file what its writer wrote? */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"

/* Told of each record of a verified file, in order; what it returns ends the verification. */
typedef struct sp_tokens_visitor {
    sp_status (*visit)(void *context, const sp_tokens_record *record);
    void *context; /* borrowed */
} sp_tokens_visitor;

/* Reads everything in an open file: every chunk against its checksum, ids against the vocabulary,
   byte ranges of a document against each other (they follow each other), and at last all of it
   against the file's digest. What opening checks (offsets, documents' numbers, parts) holds
   already. `visitor` may be NULL. SP_BAD_DATA: something is not as it was written, with what and
   where. */
SP_NODISCARD sp_status sp_tokens_verify(const sp_tokens *tokens, const sp_tokens_visitor *visitor);
