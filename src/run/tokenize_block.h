/* The tokenizing of one block of a corpus into a journal.

   Each document is cut by the first tokenizer: it runs over the whole text, and a segment ends at
   the last token boundary at or before segment_tokens that does not split a UTF-8 character (at the
   last token boundary where there is no such). The other tokenizers see each segment's bytes alone.
   Of documents with one text the first in input order has segments, the others have none. */
#pragma once

#include "base/status.h"
#include "io/tokens_journal.h"
#include "run/blocks.h"
#include "run/corpus.h"
#include "run/duplicates.h"
#include "run/survey.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_tokenize_stream {
    const char *name;              /* as in sp_tokens_stream */
    const sp_tokenizer *tokenizer; /* borrowed */
} sp_tokenize_stream;

/* How documents become segments. */
typedef struct sp_segmenting {
    const sp_tokenize_stream *streams; /* [n_streams]; the first one cuts */
    size_t n_streams;                  /* at least 1 */
    size_t segment_tokens;             /* at least 1 */
    size_t min_tokens;                 /* a document's last segment is left out if it has fewer;
                                          at most segment_tokens */
    uint64_t most_document_bytes; /* longer documents have no segments; 0: as long as they come */
} sp_segmenting;

/* Where a document stands. */
typedef struct sp_document_place {
    uint64_t document; /* its number, from 1; 0: none */
    uint64_t file, row;
} sp_document_place;

typedef struct sp_block_tokenizer sp_block_tokenizer; /* opaque; a rank has one */

/* Local. Into *tokenizer, to be released by close(); all arguments are borrowed until then.
   `duplicates` NULL: they are tokenized like all others. */
SP_NODISCARD sp_status sp_block_tokenizer_open(sp_block_tokenizer **tokenizer,
                                               const sp_segmenting *segmenting, sp_corpus *corpus,
                                               const sp_survey *survey,
                                               const sp_duplicates *duplicates);
void sp_block_tokenizer_close(sp_block_tokenizer *tokenizer); /* NULL is fine */

/* Local. Appends the block to the journal, with its tallies as of run/tokenize_summary.h. Errors as
   sp_unit_reader_next() and of the journal; SP_BAD_DATA: a file was changed since it was surveyed. */
SP_NODISCARD sp_status sp_block_tokenizer_run(sp_block_tokenizer *tokenizer, size_t block,
                                              sp_journal_writer *journal);

/* Of the blocks so far: the first document that is not UTF-8 throughout, and tokens of the stream
   that cuts. */
sp_document_place sp_block_tokenizer_first_not_utf8(const sp_block_tokenizer *tokenizer);
uint64_t sp_block_tokenizer_n_tokens(const sp_block_tokenizer *tokenizer);
