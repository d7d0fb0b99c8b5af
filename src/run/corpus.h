/* The documents of a corpus: of all shards that a user names, one after the other, with what to do
   about damage. Every rank reads them all and sees the same. */
#pragma once

#include "base/status.h"
#include "io/text_reader.h"
#include "mpi/world.h"

#include <stddef.h>
#include <stdint.h>

typedef enum sp_on_error { SP_ON_ERROR_STOP, SP_ON_ERROR_SKIP } sp_on_error;

typedef struct sp_corpus_options {
    const char *const *names; /* [n_names]: files, folders, patterns (io/text_inputs.h) */
    size_t n_names;           /* at least 1 */
    sp_text_options text;
    const char *checksums; /* a list of SHA-256 sums (io/checksums.h); NULL: nothing is checked */
    sp_on_error on_error;  /* skip: what SP_BAD_DATA takes with it is left out, and counted */
} sp_corpus_options;

/* What was left out, and why. */
typedef struct sp_corpus_counts {
    uint64_t n_files;
    uint64_t n_unwanted;                               /* documents: a condition failed */
    uint64_t n_lost_rows, n_lost_groups, n_lost_files; /* damage: each one counts in one place */
    uint64_t n_unlisted; /* files that the list of sums does not name; they are read */
} sp_corpus_counts;

typedef struct sp_corpus sp_corpus; /* opaque */

/* Collective over `world`. Finds the shards (rank 0's view holds for all) and checks their sums, the
   files shared by the ranks, into *corpus on every rank, to be released by sp_corpus_close().
   `options` is borrowed until then. SP_IO: a name that is not there; SP_BAD_DATA: a file of an
   unknown kind, and without skipping, one with another sum; SP_USAGE: a .parquet that this build
   cannot read. */
SP_NODISCARD sp_status sp_corpus_open(sp_corpus **corpus, sp_world *world,
                                      const sp_corpus_options *options);
void sp_corpus_close(sp_corpus *corpus); /* NULL is fine */

/* Local. Reads the next document; *end is true after the last. Errors as sp_text_reader_next(), apart
   from what is skipped, of which the first are logged. */
SP_NODISCARD sp_status sp_corpus_next(sp_corpus *corpus, sp_document *document, bool *end);

size_t sp_corpus_n_files(const sp_corpus *corpus);
const char *sp_corpus_path(const sp_corpus *corpus, size_t file); /* borrowed from the corpus */

/* The file of the document read last. */
size_t sp_corpus_file(const sp_corpus *corpus);

/* Documents of a file that were read so far. */
uint64_t sp_corpus_n_documents(const sp_corpus *corpus, size_t file);

/* What was left out so far. */
sp_corpus_counts sp_corpus_count(const sp_corpus *corpus);
