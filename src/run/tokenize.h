/* Tokenizing a corpus: text shards in, a token file out, shared by all ranks.

   Each document is cut by the first tokenizer: it runs over the whole text, and a segment ends at
   the last token boundary at or before segment_tokens that does not split a UTF-8 character (at the
   last token boundary where there is no such). The other tokenizers see each segment's bytes alone.
   Of documents with one text the first in input order has segments, the others have none.
   The file is the same for any number of ranks. */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"
#include "mpi/world.h"
#include "run/corpus.h"
#include "run/unit_reader.h"
#include "text/tokenizer.h"

#include <stdbool.h>
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
    size_t min_tokens;                 /* a document's last segment is left out if it has fewer;
                                          at most segment_tokens */
    uint64_t most_document_bytes; /* longer documents have no segments; 0: as long as they come */
    bool keeps_duplicates;        /* documents whose text came before are tokenized again */
    uint64_t block_bytes;         /* as in run/blocks.h; 0: by its rule */
    const char *output;
} sp_tokenize_job;

/* Totals over all ranks. Every document has a row and a number; those that are named after n_documents
   have no segments, and each of them counts in one place, the first that applies. */
typedef struct sp_tokenize_summary {
    uint64_t n_files;
    uint64_t n_unlisted_files; /* not in the list of sums; read all the same */
    uint64_t n_documents;
    uint64_t n_unwanted; /* a condition failed */
    uint64_t n_lost;     /* to damage, as far as anybody knows */
    uint64_t n_empty;
    uint64_t n_oversized; /* beyond most_document_bytes */
    uint64_t n_duplicates;
    sp_losses losses;    /* damage that was skipped; files also those with another sum */
    uint64_t n_not_utf8; /* documents that are not UTF-8 throughout; kept as they are */
    uint64_t n_segments;
    uint64_t n_short_tails; /* left out: fewer tokens than min_tokens */
    uint64_t n_bytes;       /* of text that was tokenized */
    uint64_t *n_tokens;     /* [n_streams], owned: in segments */
    double seconds;
} sp_tokenize_summary;

/* Collective over `world`. Tokenizes the job's shards into its output file and fills *summary on
   every rank, to be freed by sp_tokenize_summary_free(). Progress goes to stderr on rank 0.
   SP_BAD_DATA: a shard is not what its name says (unless damage is skipped), or no shard holds any
   text that is wanted; nothing is then left under the output's name. The corpus is read twice: first
   run/survey.h in the folder OUTPUT.work, which all ranks must see. A job that failed or was killed
   leaves there what was found out, and the next one goes on from it. */
SP_NODISCARD sp_status sp_tokenize(sp_world *world, const sp_tokenize_job *job,
                                   sp_tokenize_summary *summary);

void sp_tokenize_summary_free(sp_tokenize_summary *summary);
