/* The identity of a slot file's contents, made while it is written: a sum over documents and
   segments, each hashed with its number, so that writers of different parts can each bring theirs. */
#pragma once

#include "io/content_digest.h"
#include "io/slots_file.h"

typedef struct sp_slots_digest {
    uint64_t sum[2]; /* low, high */
} sp_slots_digest;   /* all zero: of nothing */

void sp_slots_digest_document(sp_slots_digest *digest, uint64_t document, const char *id,
                              uint64_t hash);

/* `segment` is its number in the whole file, `place` its rows there, `written` what it holds. */
void sp_slots_digest_segment(sp_slots_digest *digest, uint64_t segment,
                             const sp_slots_segment *place, const sp_slots_info *info,
                             const sp_slots_written *written);

void sp_slots_digest_add(sp_slots_digest *digest, const uint64_t sum[2]);

/* Writes the digest of all that was added, and of what `info` says of it. */
SP_NODISCARD sp_status sp_slots_digest_finish(const sp_slots_digest *digest,
                                              const sp_slots_info *info,
                                              char hex[SP_DIGEST_HEX_SIZE]);
