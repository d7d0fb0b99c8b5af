/* Is a token file what it says, and is its text that of its source? */
#pragma once

#include "base/status.h"
#include "mpi/world.h"
#include "run/corpus.h"
#include "run/named_tokenizer.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_verify_job {
    const char *path;
    const sp_named_tokenizer *tokenizers; /* [n_tokenizers], borrowed: of streams to be compared */
    size_t n_tokenizers;
    const sp_corpus_options *source; /* what it was made from, as it was chosen then; NULL: only the
                                        file is read. Its documents' hashes are compared, and their
                                        text where there is a tokenizer. What damage took then, and
                                        was skipped, is to be lost now, too */
} sp_verify_job;

typedef struct sp_verify_summary {
    uint64_t n_documents, n_segments;
    uint64_t n_lost;     /* of the documents: to damage in the source, which is skipped */
    uint64_t n_compared; /* segments, in each stream, whose text was compared */
    uint64_t
        n_reencoded; /* of these: decoding gives other text, as the tokenizer itself changes text;
                             encoding the source's gave these ids */
} sp_verify_summary;

/* Collective over `world`, whose ranks share the work. As sp_tokens_verify(), and against the source;
   the outcome is the same for any number of ranks. SP_BAD_DATA: what is not as it was written, and
   where; of several such things the first one in input order, but for those in the file as a whole.
   SP_USAGE: a tokenizer that is not the file's. Memory: what opening a token file takes, and a
   document. */
SP_NODISCARD sp_status sp_verify(sp_world *world, const sp_verify_job *job,
                                 sp_verify_summary *summary);
