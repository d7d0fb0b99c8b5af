/* Tokenizing a corpus: text shards in, a token file out, shared by all ranks.

   Each document is cut by the first tokenizer: it runs over the whole text, and a segment ends at
   the last token boundary at or before segment_tokens that does not split a UTF-8 character (at the
   last token boundary where there is no such). The other tokenizers see each segment's bytes alone.
   The file is the same for any number of ranks. */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"
#include "mpi/world.h"
#include "run/corpus.h"
#include "text/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_tokenize_stream {
    const char *name;              /* as in sp_tokens_stream */
    const sp_tokenizer *tokenizer; /* borrowed */
} sp_tokenize_stream;

typedef struct sp_tokenize_job {
    const sp_tokenize_stream *streams; /* [n_streams]; the first one cuts */
    size_t n_streams;                  /* at least 1 */
    sp_corpus_options corpus;          /* the text shards, in order, and what to take of them */
    size_t segment_tokens;             /* at least 1 */
    const char *output;
} sp_tokenize_job;

/* Totals over all ranks. */
typedef struct sp_tokenize_summary {
    uint64_t n_documents, n_empty_documents, n_segments;
    uint64_t n_not_utf8;     /* documents that are not UTF-8 throughout; kept as they are */
    sp_corpus_counts corpus; /* what was left out */
    uint64_t n_bytes;        /* of text */
    uint64_t *n_tokens;      /* [n_streams], owned */
    double seconds;
} sp_tokenize_summary;

/* Collective over `world`. Tokenizes the job's shards into its output file and fills *summary on
   every rank, to be freed by sp_tokenize_summary_free(). Progress goes to stderr on rank 0.
   SP_BAD_DATA: a shard is not what its name says (unless damage is skipped), or no shard holds any
   text that is wanted; nothing is then left under the output's name. */
SP_NODISCARD sp_status sp_tokenize(sp_world *world, const sp_tokenize_job *job,
                                   sp_tokenize_summary *summary);

void sp_tokenize_summary_free(sp_tokenize_summary *summary);
