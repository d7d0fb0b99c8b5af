/* The identity of a token file's contents, made while it is written.

   Each document gives one 128-bit hash over its text's hash and its segments; the documents' hashes,
   keyed by the document's number, are added. A sum does not depend on the order of its terms, so
   writers of different documents can each bring their part. */
#pragma once

#include "base/status.h"
#include "io/content_digest.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_corpus_digest sp_corpus_digest; /* opaque */

SP_NODISCARD sp_status sp_corpus_digest_create(sp_corpus_digest **digest);
void sp_corpus_digest_destroy(sp_corpus_digest *digest); /* NULL is fine */

/* Begins document number `document`, whose text has that hash. */
void sp_corpus_digest_document(sp_corpus_digest *digest, uint64_t document, uint64_t hash);

/* Adds a segment of the document: its range, then each stream's ids in order. */
void sp_corpus_digest_segment(sp_corpus_digest *digest, uint64_t byte_begin, uint32_t byte_len);
void sp_corpus_digest_ids(sp_corpus_digest *digest, const int32_t *ids, size_t n_ids);

/* The sum over the documents so far, and adding that of others. Ends the last document. */
void sp_corpus_digest_sum(sp_corpus_digest *digest, uint64_t sum[2]);
void sp_corpus_digest_add(sp_corpus_digest *digest, const uint64_t sum[2]);

/* Writes the digest of all documents so far and of `header` [header_len], which stands for what else
   makes the file what it is. Ends the last document. */
void sp_corpus_digest_finish(sp_corpus_digest *digest, const char *header, size_t header_len,
                             char hex[SP_DIGEST_HEX_SIZE]);
