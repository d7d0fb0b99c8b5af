/* Is a token file what its writer wrote? */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"

#include <stddef.h>
#include <stdint.h>

/* Told of each record that was verified, in order; what it returns ends the verification. */
typedef struct sp_tokens_visitor {
    sp_status (*visit)(void *context, const sp_tokens_record *record);
    void *context; /* borrowed */
} sp_tokens_visitor;

/* A verification by pieces, which several processes may share: each verifies documents of its own,
   and the sums together tell whether all of them are as they were written. */
typedef struct sp_tokens_check sp_tokens_check; /* opaque */

/* Begins with no document verified; `tokens` is borrowed until close. */
SP_NODISCARD sp_status sp_tokens_check_open(sp_tokens_check **check, const sp_tokens *tokens);
void sp_tokens_check_close(sp_tokens_check *check); /* NULL is fine */

/* Reads documents [begin, end) with their segments: every chunk against its checksum, ids against the
   vocabulary, byte ranges of a document against each other (they follow each other). What opening a
   file checks (offsets, documents' numbers, parts) holds already. `visitor` may be NULL.
   SP_BAD_DATA: something is not as it was written, with what and where. */
SP_NODISCARD sp_status sp_tokens_check_documents(sp_tokens_check *check, size_t begin, size_t end,
                                                 const sp_tokens_visitor *visitor);

/* The sum over the documents verified so far, and adding that of others. */
void sp_tokens_check_sum(sp_tokens_check *check, uint64_t sum[2]);
void sp_tokens_check_add(sp_tokens_check *check, const uint64_t sum[2]);

/* After each document was verified once, here or by those whose sums were added: holds them against
   the file's digest, and reads what belongs to no document. SP_BAD_DATA: another one. */
SP_NODISCARD sp_status sp_tokens_check_finish(sp_tokens_check *check);

/* All of it, in one process. */
SP_NODISCARD sp_status sp_tokens_verify(const sp_tokens *tokens);
